// Returns of bars into what the complexity of a market is made of: daemon/bars/complexity.py says what the figures are,
// and its plain form is what this one is tested against. Sums are rounded once, as math.fsum's are, so that their order
// changes nothing.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

constexpr int MOST_PARTIALS = 64;

// Shewchuk, "Adaptive Precision Floating-Point Arithmetic" (1997), rounded half to even; the numbers are finite.
class ExactSum {
 public:
  void add(double x) {
    int kept = 0;
    for (int k = 0; k < count_; ++k) {
      double y = partials_[k];
      if (std::fabs(x) < std::fabs(y)) std::swap(x, y);
      const double high = x + y, low = y - (high - x);
      if (low != 0.0) partials_[kept++] = low;
      x = high;
    }
    if (x != 0.0) partials_[kept++] = x;
    count_ = kept;
  }

  double rounded() const {
    int n = count_;
    if (n == 0) return 0.0;
    double high = partials_[--n], low = 0.0;
    while (n > 0) {
      const double x = high, y = partials_[--n];
      high = x + y;
      low = y - (high - x);
      if (low != 0.0) break;
    }
    if (n > 0 && ((low < 0.0 && partials_[n - 1] < 0.0) || (low > 0.0 && partials_[n - 1] > 0.0))) {
      const double twice = low * 2.0, x = high + twice;
      if (twice == x - high) high = x;
    }
    return high;
  }

 private:
  double partials_[MOST_PARTIALS];
  int count_ = 0;
};

double squared(double x) {
  static volatile double two = 2.0;  // Python's ** is pow, which needn't round as a product does
  return std::pow(x, two);
}

struct State {  // the order is that of STATE in kernel.py
  int64_t* times;       // (symbols, length), the newest last
  double* returns;      // as the times
  int64_t* counts;      // (symbols,): how many of them there are
  double* deviations;   // (symbols, 2, short + long): returns about their mean, of two windows
  double* squares;      // (symbols, 2, 2): their sums of squares, short and long
  int64_t* about;       // (symbols, 2): when those windows end, 0 where none is there
  int64_t* known_at;    // (symbols, symbols): at the end of which window a pair was compared, 0 where it wasn't
  double* known;        // as known_at: what came of it
  double* answer;       // (3,)
  int64_t symbols, length, volatility, trend, momentum, correlation;
  double noise;
};

double sum(const double* values, int64_t n) {
  ExactSum total;
  for (int64_t i = 0; i < n; ++i) total.add(values[i]);
  return total.rounded();
}

double about_mean(const double* values, int64_t n, double* deviations) {
  const double mean = sum(values, n) / static_cast<double>(n);
  ExactSum total;
  for (int64_t i = 0; i < n; ++i) {
    deviations[i] = values[i] - mean;
    total.add(squared(deviations[i]));
  }
  return total.rounded();
}

double together(const double* one, double one_squares, const double* two, double two_squares, int64_t n, double noise) {
  const double least = static_cast<double>(n) * noise;
  if (one_squares <= least || two_squares <= least) return 0.0;
  ExactSum total;
  for (int64_t i = 0; i < n; ++i) total.add(one[i] * two[i]);
  const double rho = total.rounded() / std::sqrt(one_squares * two_squares);
  return rho > 1.0 ? 1.0 : rho < -1.0 ? -1.0 : rho;
}

struct About {
  const double *near, *far;
  double near_squares, far_squares;
};

// A symbol's returns about their means, of the window that ends `back` before the newest; two windows are remembered.
About about(const State& s, int64_t symbol, int64_t back) {
  const int64_t near = s.volatility, far = s.correlation;
  const int64_t end = s.times[(symbol + 1) * s.length - 1 - back];
  int64_t place = symbol * 2;
  if (s.about[place] != end && s.about[place + 1] == end) ++place;
  if (s.about[place] != end) {
    if (s.about[place] > s.about[place + 1]) ++place;
    s.about[place] = end;
    const double* last = s.returns + (symbol + 1) * s.length - back;
    double* deviations = s.deviations + place * (near + far);
    s.squares[2 * place] = about_mean(last - near, near, deviations);
    s.squares[2 * place + 1] = about_mean(last - far, far, deviations + near);
  }
  const double* deviations = s.deviations + place * (near + far);
  return {deviations, deviations + near, s.squares[2 * place], s.squares[2 * place + 1]};
}

double change(const State& s, const About& one, const About& two) {
  const double near = together(one.near, one.near_squares, two.near, two.near_squares, s.volatility, s.noise);
  const double far = together(one.far, one.far_squares, two.far, two.far_squares, s.correlation, s.noise);
  return std::fabs(near - far) / 2.0;
}

// The same over the newest returns at common times; whether there are enough. `scratch` holds 4 windows of the longest.
bool change_at_common_times(const State& s, int64_t one, int64_t two, double* scratch, double* found) {
  const int64_t far = s.correlation, near = s.volatility;
  double *x = scratch, *y = scratch + far;
  int64_t i = (one + 1) * s.length - 1, j = (two + 1) * s.length - 1, left = far;
  const int64_t first_i = i + 1 - s.counts[one], first_j = j + 1 - s.counts[two];
  while (left > 0 && i >= first_i && j >= first_j) {
    if (s.times[i] > s.times[j]) {
      --i;
    } else if (s.times[i] < s.times[j]) {
      --j;
    } else {
      --left;
      x[left] = s.returns[i--];
      y[left] = s.returns[j--];
    }
  }
  if (left > 0) return false;
  double *dx = scratch + 2 * far, *dy = scratch + 3 * far;
  const double nx = about_mean(x + far - near, near, dx), ny = about_mean(y + far - near, near, dy);
  const double recent = together(dx, nx, dy, ny, near, s.noise);
  const double fx = about_mean(x, far, dx), fy = about_mean(y, far, dy);
  *found = std::fabs(recent - together(dx, fx, dy, fy, far, s.noise)) / 2.0;
  return true;
}

}  // namespace

extern "C" {

// Adds a symbol's newest return and fills `answer` with (sigma, efficiency, |sum| of the momentum window).
void hrmd_returns(const State* state, int64_t symbol, int64_t close, double newest) {
  const State& s = *state;
  int64_t* times = s.times + symbol * s.length;
  double* returns = s.returns + symbol * s.length;
  std::copy(times + 1, times + s.length, times);
  std::copy(returns + 1, returns + s.length, returns);
  times[s.length - 1] = close;
  returns[s.length - 1] = newest;
  const int64_t count = s.counts[symbol] = std::min(s.counts[symbol] + 1, s.length);
  const double* end = returns + s.length;
  double sigma = 0.0, efficiency = 0.0, moved = 0.0;
  if (count >= s.volatility) {
    const double n = static_cast<double>(s.volatility), mean = sum(end - s.volatility, s.volatility) / n;
    ExactSum total;
    for (const double* value = end - s.volatility; value < end; ++value) total.add(squared(*value - mean));
    const double variance = total.rounded() / n;
    sigma = variance > s.noise ? std::sqrt(variance) : 0.0;
  }
  if (count >= s.trend) {
    ExactSum path;
    for (const double* value = end - s.trend; value < end; ++value) path.add(std::fabs(*value));
    const double whole = path.rounded();
    efficiency = whole > 0.0 ? std::min(1.0, std::fabs(sum(end - s.trend, s.trend)) / whole) : 0.0;
  }
  if (count >= s.momentum) moved = std::fabs(sum(end - s.momentum, s.momentum));
  s.answer[0] = sigma;
  s.answer[1] = efficiency;
  s.answer[2] = moved;
}

// How far a symbol's correlations with all others are from those of the long run, the mean; `scratch` holds 4 windows
// of the long run.
double hrmd_breakdown(const State* state, int64_t mine, double* scratch) {
  const State& s = *state;
  const int64_t far = s.correlation;
  if (s.counts[mine] < far) return 0.0;
  const int64_t* end = s.times + (mine + 1) * s.length;
  ExactSum total;
  int64_t count = 0;
  for (int64_t other = 0; other < s.symbols; ++other) {
    if (other == mine || s.counts[other] < far) continue;
    const int64_t* ends = s.times + (other + 1) * s.length;
    int64_t back = -1;
    if (std::equal(ends - far, ends, end - far)) {
      back = 0;
    } else if (s.counts[mine] > far && std::equal(ends - far, ends, end - far - 1)) {
      back = 1;  // bars that close together: the other's newest has yet to come
    }
    double found;
    if (back < 0) {
      if (!change_at_common_times(s, mine, other, scratch, &found)) continue;
    } else {
      const int64_t pair = mine * s.symbols + other, riap = other * s.symbols + mine;
      if (s.known_at[pair] != ends[-1]) {
        s.known[pair] = s.known[riap] = change(s, about(s, mine, back), about(s, other, 0));
        s.known_at[pair] = s.known_at[riap] = ends[-1];
      }
      found = s.known[pair];
    }
    total.add(found);
    ++count;
  }
  return count ? total.rounded() / static_cast<double>(count) : 0.0;
}

}  // extern "C"
