// One segment: N cycles of T steps of L and one of H, for the rows that have not settled; then the heads.
#include "model.hpp"

namespace hrm {

bool Model::reserve(int rows) {
  if (rows <= capacity_) return true;
  const size_t tokens = static_cast<size_t>(rows) * s_.tokens;
  const int h = round_up(s_.h_dim, 16), l = round_up(s_.l_dim, 16), padded_tokens = round_up(s_.tokens, 16);
  const int wide = std::max({round_up(3 * s_.h_dim, 16), round_up(3 * s_.l_dim, 16), round_up(s_.h_inner, 16), round_up(s_.l_inner, 16)});
  const int deep = std::max({wide, round_up(s_.patch_inputs, 16), round_up(s_.coarse_inputs, 16), round_up(s_.calendar_inputs, 16)});
  const int head = round_up(std::max(s_.h_dim / s_.h_heads, s_.l_dim / s_.l_heads), 16), narrow = std::max(h, l);
  // Activations are at most 4 bytes a value; 64 bytes of rounding for each of 16 buffers.
  size_t bytes = tokens * (deep * 4 + 8 + wide * 4 + narrow * 4 + h * 8 + l * 16) + tokens + 16 * 64;
  bytes += (2 * padded_tokens * head + head * padded_tokens + padded_tokens * padded_tokens) * 4;
  auto space = std::make_unique<Arena>(bytes);
  if (!space->ready()) return false;
  w_.activations.values = space->take<uint8_t>(tokens * deep * 4);
  w_.activations.scale = space->take<float>(tokens);
  w_.activations.offset = space->take<int32_t>(tokens);
  w_.wide = space->take<float>(tokens * wide);
  w_.narrow = space->take<float>(tokens * narrow);
  w_.query = space->take<float>(padded_tokens * head);
  w_.key = space->take<float>(padded_tokens * head);
  w_.key_columns = space->take<float>(head * padded_tokens);
  w_.scores = space->take<float>(padded_tokens * padded_tokens);
  zh_ = space->take<float>(tokens * h);
  crossed_ = space->take<float>(tokens * h);
  zl_ = space->take<float>(tokens * l);
  drive_ = space->take<float>(tokens * l);
  x_ = space->take<float>(tokens * l);
  valid_ = space->take<uint8_t>(tokens);
  active_.reserve(rows);
  which_.reserve(tokens);
  space_ = std::move(space);
  capacity_ = rows;
  return valid_ != nullptr;
}

// Rows of floats times a matrix, plus a bias where there is one, into rows of floats.
template <Precision P>
static void apply(const Linear& w, const Scratch& s, const float* from, int from_stride, int rows, float* to, int to_stride, const float* bias) {
  for (int row = 0; row < rows; ++row) convert_row<P>(from + static_cast<size_t>(row) * from_stride, w.k, s.activations, row);
  product<P>(w, s.activations, rows, [&](int panel, int row, f16 v0, f16 v1) __attribute__((always_inline)) {
    const int column = panel * PANEL;
    if (bias != nullptr) {
      v0 = add(v0, load(bias + column));
      v1 = add(v1, load(bias + column + 16));
    }
    float* at = to + static_cast<size_t>(row) * to_stride + column;
    store(at, v0, lanes(w.n - column));
    if (column + 16 < w.n) store(at + 16, v1, lanes(w.n - column - 16));
  });
}

static void add(float* to, const float* from, size_t count) {  // `count` is a multiple of 16
  for (size_t i = 0; i < count; i += 16) store(to + i, add(load(to + i), load(from + i)));
}

// Tokens of (tokens, dim) floats to or from (tokens, padded dim).
static void copy_rows(float* to, int to_stride, const float* from, int from_stride, size_t rows, int dim) {
  for (size_t r = 0; r < rows; ++r) std::memcpy(to + r * to_stride, from + r * from_stride, dim * sizeof(float));
}

// ||new - old|| / ||new|| over the valid tokens of one observation.
static float relative_change(const float* now, int stride, const float* before, int dim, int tokens, const uint8_t* valid) {
  f16 difference = zero(), size = zero();
  for (int t = 0; t < tokens; ++t) {
    if (valid != nullptr && !valid[t]) continue;
    for (int i = 0; i < dim; i += 16) {
      const f16 v = load(now + static_cast<size_t>(t) * stride + i, lanes(dim - i));
      const f16 d = sub(v, load(before + static_cast<size_t>(t) * dim + i, lanes(dim - i)));
      difference = fma(d, d, difference);
      size = fma(v, v, size);
    }
  }
  return std::sqrt(sum_of(difference) / sum_of(size));
}

template <Precision P>
void Model::reset(size_t tokens) {
  const int l = round_up(s_.l_dim, 16);
  if (s_.l_reset == NONE) return;
  if (s_.l_reset == LEARNED) apply<P>(gate_, w_, zh_, round_up(s_.h_dim, 16), static_cast<int>(tokens), drive_, l, gate_bias_);
  for (size_t t = 0; t < tokens; ++t) {
    for (int i = 0; i < l; i += 16) {
      float* at = zl_ + t * l + i;
      const f16 keep = s_.l_reset == LEARNED ? sigmoid16(load(drive_ + t * l + i)) : all(s_.l_reset == HARD ? 0.0f : s_.soft_keep);
      const f16 start = load(l_init_ + i, lanes(s_.l_dim - i));
      store(at, fma(keep, sub(load(at), start), start));
    }
  }
}

// The tokens of `rows` observations that have to be worked on.
Rows Model::rows_of(int rows, const uint8_t* valid, bool whole) {
  const int count = rows * s_.tokens;
  if (whole || valid == nullptr) return Rows{nullptr, count};
  which_.clear();
  for (int i = 0; i < count; ++i)
    if (valid[i]) which_.push_back(i);
  return Rows{which_.data(), static_cast<int>(which_.size())};
}

// Reset, T steps of L, one step of H, on the gathered rows.
template <Precision P>
void Model::cycle(int rows, const uint8_t* valid, const Rows& worked_on) {
  const size_t tokens = static_cast<size_t>(rows) * s_.tokens;
  const int h = round_up(s_.h_dim, 16), l = round_up(s_.l_dim, 16), count = static_cast<int>(tokens);
  const bool crossing = s_.h_dim != s_.l_dim;
  reset<P>(tokens);
  if (crossing) apply<P>(h_to_l_, w_, zh_, h, count, drive_, l, nullptr);
  else std::memcpy(drive_, zh_, tokens * l * sizeof(float));
  add(drive_, x_, tokens * l);
  for (int step = 0; step < s_.l_steps; ++step) {
    add(zl_, drive_, tokens * l);
    run_stack<P>(l_, w_, zl_, rows, s_.tokens, valid, worked_on);
  }
  if (crossing) apply<P>(l_to_h_, w_, zl_, l, count, crossed_, h, nullptr);
  add(zh_, crossing ? crossed_ : zl_, tokens * h);
  run_stack<P>(h_, w_, zh_, rows, s_.tokens, valid, worked_on);
}

template <Precision P>
void Model::cycles(const Segment& g) {
  const int n = s_.h_cycles, tokens = s_.tokens, h = round_up(s_.h_dim, 16), l = round_up(s_.l_dim, 16);
  std::vector<int>& active = active_;
  active.clear();
  for (int row = 0; row < g.rows; ++row) active.push_back(row), g.ran[row] = 0;
  for (int c = 0; c < n && !active.empty(); ++c) {
    for (size_t i = 0; i < active.size(); ++i) {
      const size_t row = active[i];
      copy_rows(zh_ + i * tokens * h, h, g.z_h + row * tokens * s_.h_dim, s_.h_dim, tokens, s_.h_dim);
      copy_rows(zl_ + i * tokens * l, l, g.z_l + row * tokens * s_.l_dim, s_.l_dim, tokens, s_.l_dim);
      copy_rows(x_ + i * tokens * l, l, g.x + row * tokens * s_.l_dim, s_.l_dim, tokens, s_.l_dim);
      if (g.valid != nullptr) std::memcpy(valid_ + i * tokens, g.valid + row * tokens, tokens);
    }
    const int gathered = static_cast<int>(active.size());
    const uint8_t* masks = g.valid == nullptr ? nullptr : valid_;
    cycle<P>(gathered, masks, rows_of(gathered, masks, g.whole));
    size_t kept = 0;
    for (size_t i = 0; i < active.size(); ++i) {
      const size_t row = active[i];
      const uint8_t* valid = g.valid == nullptr ? nullptr : valid_ + i * tokens;
      float *old_h = g.z_h + row * tokens * s_.h_dim, *old_l = g.z_l + row * tokens * s_.l_dim;
      const float *new_h = zh_ + i * tokens * h, *new_l = zl_ + i * tokens * l;
      const float moved_h = relative_change(new_h, h, old_h, s_.h_dim, tokens, valid);
      const float moved_l = relative_change(new_l, l, old_l, s_.l_dim, tokens, valid);
      copy_rows(old_h, s_.h_dim, new_h, h, tokens, s_.h_dim);
      copy_rows(old_l, s_.l_dim, new_l, l, tokens, s_.l_dim);
      for (int later = c; later < n; ++later) g.change_h[row * n + later] = moved_h, g.change_l[row * n + later] = moved_l;
      g.ran[row] += 1;
      if (!(moved_h < g.settled_below && moved_l < g.settled_below)) active[kept++] = static_cast<int>(row);
    }
    active.resize(kept);
  }
}

void Model::segment(const Segment& g) {
  if (s_.precision == INT8) cycles<INT8>(g);
  else if (s_.precision == BF16) cycles<BF16>(g);
  else if (s_.precision == INT16) cycles<INT16>(g);
  else cycles<FP32>(g);
  // The decision token is the first of each row; policy logits are capped, the quantity is a share.
  apply<FP32>(heads_, w_, g.z_h, s_.tokens * s_.h_dim, g.rows, g.readings, READINGS, heads_bias_);
  for (int row = 0; row < g.rows; ++row) {
    float* reading = g.readings + row * READINGS;
    for (int i = 0; i < ACTIONS; ++i) reading[i] = s_.logit_cap * std::tanh(reading[i] / s_.logit_cap);
    reading[ACTIONS] = 1.0f / (1.0f + std::exp(-reading[ACTIONS]));
  }
}

void Model::embed(int rows, const Tokens& from, const uint8_t* valid, bool whole, float* x) {
  const int tokens = s_.tokens, patches = tokens - 4, l = round_up(s_.l_dim, 16), dim = s_.l_dim;
  auto project = [&](Input which, const float* values, int inputs, int count) {
    apply<FP32>(projections_[which], w_, values, inputs, count, w_.narrow, l, biases_[which]);
  };
  auto token = [&](int row, int t) { return x_ + (static_cast<size_t>(row) * tokens + t) * l; };
  project(PATCH, from.patches, s_.patch_inputs, rows * patches);
  for (int row = 0; row < rows; ++row) copy_rows(token(row, 1), l, w_.narrow + static_cast<size_t>(row) * patches * l, l, patches, dim);
  project(COARSE, from.coarse, s_.coarse_inputs, rows);
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < dim; ++i) token(row, patches + 1)[i] = w_.narrow[row * l + i] + from.coarse_timeframe[row * dim + i];
    std::memcpy(token(row, 0), from.decision + row * dim, dim * sizeof(float));
    std::memcpy(token(row, patches + 3), memory_, dim * sizeof(float));
  }
  project(CALENDAR, from.calendar, s_.calendar_inputs, rows);
  for (int row = 0; row < rows; ++row) copy_rows(token(row, patches + 2), l, w_.narrow + row * l, l, 1, dim);
  const Rows worked_on = rows_of(rows, valid, whole);
  if (s_.precision == INT8) run_stack<INT8>(input_, w_, x_, rows, tokens, valid, worked_on);
  else if (s_.precision == BF16) run_stack<BF16>(input_, w_, x_, rows, tokens, valid, worked_on);
  else if (s_.precision == INT16) run_stack<INT16>(input_, w_, x_, rows, tokens, valid, worked_on);
  else run_stack<FP32>(input_, w_, x_, rows, tokens, valid, worked_on);
  copy_rows(x, dim, x_, l, static_cast<size_t>(rows) * tokens, dim);
}

}  // namespace hrm
