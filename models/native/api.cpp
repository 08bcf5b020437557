// The C interface: opaque models, plain arrays, 0 for success. One call at a time per model; it holds no Python lock.
#include <new>

#include "model.hpp"

using hrm::Model;

namespace {
enum Answer { OK = 0, BUSY = 1, NO_MEMORY = 2 };

struct Turn {  // refuses a second caller instead of letting it write into the first one's buffers
  explicit Turn(Model& m) : model(m), taken(!m.busy.test_and_set(std::memory_order_acquire)) {}
  ~Turn() {
    if (taken) model.busy.clear(std::memory_order_release);
  }
  Model& model;
  bool taken;
};
}  // namespace

extern "C" {

void* hrm_new(const hrm::Shape* shape, const float* weights, uint64_t count) {
  return Model::make(*shape, weights, count).release();
}

void hrm_free(void* model) { delete static_cast<Model*>(model); }

int hrm_embed(void* model, int rows, const float* patches, const float* coarse, const float* calendar,
              const float* decision, const float* coarse_timeframe, const uint8_t* valid, int whole, float* x) {
  Model& m = *static_cast<Model*>(model);
  const Turn turn(m);
  if (!turn.taken) return BUSY;
  if (!m.reserve(rows)) return NO_MEMORY;
  m.embed(rows, hrm::Tokens{patches, coarse, calendar, decision, coarse_timeframe}, valid, whole != 0, x);
  return OK;
}

int hrm_segment(void* model, int rows, const float* x, const uint8_t* valid, int whole, float settled_below, float* z_h, float* z_l,
                float* change_h, float* change_l, int64_t* ran, float* readings) {
  Model& m = *static_cast<Model*>(model);
  const Turn turn(m);
  if (!turn.taken) return BUSY;
  if (!m.reserve(rows)) return NO_MEMORY;
  m.segment(hrm::Segment{rows, x, valid, whole != 0, settled_below, z_h, z_l, change_h, change_l, ran, readings});
  return OK;
}

}  // extern "C"
