// Python's buffers as columns, without Python's headers: its stable interface (3.11 and later) is declared here.
#pragma once
#include <cstdint>

extern "C" {
struct Py_buffer {
  void* buf;
  void* obj;
  intptr_t len;
  intptr_t itemsize;
  int readonly;
  int ndim;
  char* format;
  intptr_t* shape;
  intptr_t* strides;
  intptr_t* suboffsets;
  void* internal;
};
int PyObject_GetBuffer(void* object, Py_buffer* view, int flags);
void PyBuffer_Release(Py_buffer* view);
void PyErr_Clear();
}

namespace hrmd {

constexpr int STRIDED = 0x0018, WRITABLE = 0x0001;  // PyBUF_STRIDES, PyBUF_WRITABLE

// Where the values lie: a copy of it stays in registers, as a `Column`, which Python wrote into, doesn't.
template <typename T>
struct Values {
  char* data;
  intptr_t stride;
  T& operator[](intptr_t i) const { return *reinterpret_cast<T*>(data + i * stride); }
};

// One dimension of fixed-size values, for as long as the object lives; `good` says whether it is that.
template <typename T>
class Column {
 public:
  explicit Column(void* object, bool writable = false) {
    held_ = PyObject_GetBuffer(object, &view_, STRIDED | (writable ? WRITABLE : 0)) == 0;
    if (!held_) PyErr_Clear();
    good = held_ && view_.ndim == 1 && view_.itemsize == static_cast<intptr_t>(sizeof(T));
    if (!good) return;
    data_ = static_cast<char*>(view_.buf);
    stride_ = view_.strides[0];
  }
  ~Column() {
    if (held_) PyBuffer_Release(&view_);
  }
  Column(const Column&) = delete;
  Column& operator=(const Column&) = delete;

  Values<T> values() const { return {data_, stride_}; }
  intptr_t size() const { return good ? view_.shape[0] : 0; }

  bool good = false;

 private:
  Py_buffer view_{};
  bool held_ = false;
  char* data_ = nullptr;
  intptr_t stride_ = 0;
};

}  // namespace hrmd
