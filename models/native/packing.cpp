// Weights as torch keeps them -> the arena: quantised, transposed into panels, in the order in which a segment reads them.
#include "model.hpp"

namespace hrm {

static int group_size(Precision p) { return p == INT8 ? 4 : p == BF16 || p == INT16 ? 2 : 1; }

size_t Model::linear_bytes(int n, int k, Precision p) const {
  const size_t groups = round_up(k, group_size(p)) / group_size(p), columns = round_up(n, PANEL);
  return Arena::round(groups * columns * 4, 64) + Arena::round(columns * 4, 64);
}

// Row-major (n, k) floats. A `gated` matrix holds n/2 gates, then n/2 ups: a panel gets 16 of each.
Linear Model::pack(Reader& from, int n, int k, Precision p, bool gated) {
  Linear to;
  const float* rows = from.next(static_cast<size_t>(n) * k);
  if (rows == nullptr) return to;
  const int group = group_size(p), bytes = 4 / group;
  const bool whole = p == INT8 || p == INT16;
  const float most = top_of(p, k);
  to.n = n, to.k = k, to.groups = round_up(k, group) / group, to.panels = round_up(n, PANEL) / PANEL;
  uint8_t* weights = weights_->take<uint8_t>(to.panel_bytes() * to.panels);
  float* scale = weights_->take<float>(static_cast<size_t>(to.panels) * PANEL);
  if (weights == nullptr || scale == nullptr) return from.short_ = true, to;
  if (p == INT8) std::memset(weights, 128, to.panel_bytes() * to.panels);
  for (int place = 0; place < to.panels * PANEL; ++place) {
    const int panel = place / PANEL, lane = place % PANEL;
    const int row = !gated ? place : lane < 16 ? panel * 16 + lane : n / 2 + panel * 16 + lane - 16;
    if ((gated ? panel * 16 + lane % 16 >= n / 2 : place >= n)) continue;
    const float* values = rows + static_cast<size_t>(row) * k;
    float top = 0.0f;
    bool finite = true;
    for (int i = 0; i < k; ++i) {
      finite = finite && std::isfinite(values[i]);
      top = std::max(top, std::fabs(values[i]));
    }
    if (!finite) top = NAN;  // the column's scale carries it to the output: whole numbers have no such value
    scale[place] = whole ? top / most : 1.0f;
    const float inverse = top > 0.0f ? most / top : 0.0f;
    uint8_t* column = weights + panel * to.panel_bytes() + lane * 4;
    for (int i = 0; i < k; ++i) {
      uint8_t* at = column + static_cast<size_t>(i / group) * PANEL * 4 + (i % group) * bytes;
      if (p == INT8) {
        *at = finite ? static_cast<uint8_t>(128 + static_cast<int>(std::nearbyint(values[i] * inverse))) : 128;
      } else if (p == INT16) {
        const int16_t quantised = finite ? static_cast<int16_t>(std::nearbyint(values[i] * inverse)) : 0;
        std::memcpy(at, &quantised, 2);
      } else if (p == BF16) {
        const uint16_t half = bf16_of(values[i]);
        std::memcpy(at, &half, 2);
      } else {
        std::memcpy(at, &values[i], 4);
      }
    }
  }
  to.weights = weights, to.scale = scale;
  return to;
}

size_t Model::stack_bytes(int dim, int heads, int inner, int layers) const {
  const Precision p = static_cast<Precision>(s_.precision);
  const size_t block = linear_bytes(3 * dim, dim, p) + linear_bytes(dim, dim, p) + linear_bytes(2 * inner, dim, p) + linear_bytes(dim, inner, p);
  return block * layers + 2 * (static_cast<size_t>(s_.tokens) * round_up(dim / heads / 2, 16) * 4 + 64);
}

void Model::pack_stack(Reader& from, Stack& to, int dim, int heads, int inner, int layers) {
  const Precision p = static_cast<Precision>(s_.precision);
  to.dim = dim, to.heads = heads, to.inner = inner;
  for (int layer = 0; layer < layers; ++layer) {
    Block block;
    block.qkv = pack(from, 3 * dim, dim, p, false);
    block.out = pack(from, dim, dim, p, false);
    block.gate_up = pack(from, 2 * inner, dim, p, true);
    block.down = pack(from, dim, inner, p, false);
    to.blocks.push_back(block);
  }
}

// The tables come ready from the caller, (tokens, half a head) twice, so that both runtimes rotate by the same numbers.
static const float* table(Reader& from, Arena& arena, int tokens, int half) {
  const float* values = from.next(static_cast<size_t>(tokens) * half);
  const int padded = round_up(half, 16);
  float* to = arena.take<float>(static_cast<size_t>(tokens) * padded);
  if (values == nullptr || to == nullptr) return from.short_ = true, nullptr;
  for (int t = 0; t < tokens; ++t) std::memcpy(to + t * padded, values + t * half, half * sizeof(float));
  return to;
}

static const float* vector_of(Reader& from, Arena& arena, int count) {
  const float* values = from.next(count);
  float* to = arena.take<float>(round_up(count, PANEL));
  if (values == nullptr || to == nullptr) return from.short_ = true, nullptr;
  std::memcpy(to, values, count * sizeof(float));
  return to;
}

std::unique_ptr<Model> Model::make(const Shape& s, const float* weights, size_t count) {
  std::unique_ptr<Model> m(new Model(s));
  const Precision p = static_cast<Precision>(s.precision);
  const bool crossing = s.h_dim != s.l_dim;
  const int inputs[INPUTS] = {s.patch_inputs, s.coarse_inputs, s.calendar_inputs};
  size_t bytes = m->stack_bytes(s.l_dim, s.l_heads, s.l_inner, s.input_layers) + m->stack_bytes(s.l_dim, s.l_heads, s.l_inner, s.l_layers) +
                 m->stack_bytes(s.h_dim, s.h_heads, s.h_inner, s.h_layers);
  bytes += m->linear_bytes(s.l_dim, s.h_dim, p) * 2 + m->linear_bytes(s.h_dim, s.l_dim, p) + m->linear_bytes(READINGS, s.h_dim, FP32);
  for (const int k : inputs) bytes += m->linear_bytes(s.l_dim, k, FP32) + (s.l_dim + PANEL) * 4 + 64;
  bytes += (s.h_dim + 3 * s.l_dim + 5 * PANEL + READINGS) * 4 + 16 * 64;
  m->weights_ = std::make_unique<Arena>(bytes);
  if (!m->weights_->ready()) return nullptr;

  Reader from{weights, count};
  Arena& arena = *m->weights_;
  for (int i = 0; i < INPUTS; ++i) {
    m->projections_[i] = m->pack(from, s.l_dim, inputs[i], FP32, false);
    m->biases_[i] = vector_of(from, arena, s.l_dim);
  }
  m->memory_ = vector_of(from, arena, s.l_dim);
  m->l_.cos = m->input_.cos = table(from, arena, s.tokens, s.l_dim / s.l_heads / 2);
  m->l_.sin = m->input_.sin = table(from, arena, s.tokens, s.l_dim / s.l_heads / 2);
  m->h_.cos = table(from, arena, s.tokens, s.h_dim / s.h_heads / 2);
  m->h_.sin = table(from, arena, s.tokens, s.h_dim / s.h_heads / 2);
  m->pack_stack(from, m->input_, s.l_dim, s.l_heads, s.l_inner, s.input_layers);
  if (crossing) m->h_to_l_ = m->pack(from, s.l_dim, s.h_dim, p, false);
  if (s.l_reset == LEARNED) {
    m->gate_ = m->pack(from, s.l_dim, s.h_dim, p, false);
    m->gate_bias_ = vector_of(from, arena, s.l_dim);
  }
  m->pack_stack(from, m->l_, s.l_dim, s.l_heads, s.l_inner, s.l_layers);
  if (crossing) m->l_to_h_ = m->pack(from, s.h_dim, s.l_dim, p, false);
  m->pack_stack(from, m->h_, s.h_dim, s.h_heads, s.h_inner, s.h_layers);
  m->h_init_ = vector_of(from, arena, s.h_dim);
  m->l_init_ = vector_of(from, arena, s.l_dim);
  m->heads_ = m->pack(from, READINGS, s.h_dim, FP32, false);
  m->heads_bias_ = vector_of(from, arena, READINGS);
  return from.short_ || from.left != 0 ? nullptr : std::move(m);
}

}  // namespace hrm
