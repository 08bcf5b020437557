// Accepted ticks of one session into parts of base bars: daemon/bars/builder.py says what they are for, and its plain
// form is what this one is tested against.
#include <algorithm>

#include "columns.hpp"

namespace {

struct Part {  // the order is that of PART in kernel.py
  int64_t code, bucket, volume, ticks;
  double open, high, low, close;
};

}  // namespace

extern "C" {

// Adds n ticks up, in the order in which they came, to one part for each symbol and base bar; those that came after
// their bar was over (`due` has passed its end, or they were received later than that and the grace) count as `late` of
// their symbol. `at` is scratch. All of these have a place a symbol, and `parts` so many places. Returns how many parts there are; -1 where an argument is of
// another form, -2 where a tick lies outside [opened, closed), -3 where `parts` is too short: then nothing counts.
int64_t hrmd_bars(int64_t n, void* code_, void* ts_event_, void* ts_recv_, void* ltp_, void* traded_, int64_t opened,
                  int64_t closed, int64_t base, int64_t grace, int64_t due, int64_t symbols, int64_t* at, int64_t* late, Part* parts, int64_t places) {
  const hrmd::Column<int32_t> codes(code_);
  const hrmd::Column<int64_t> events(ts_event_), receipts(ts_recv_), quantities(traded_);
  const hrmd::Column<double> prices(ltp_);
  for (const int64_t size : {codes.size(), events.size(), receipts.size(), prices.size(), quantities.size()})
    if (size != n) return -1;
  const auto code = codes.values();
  const auto ts_event = events.values(), ts_recv = receipts.values(), traded = quantities.values();
  const auto ltp = prices.values();
  if (base <= 0) return -1;
  for (int64_t symbol = 0; symbol < symbols; ++symbol) at[symbol] = -1, late[symbol] = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t ts = ts_event[i], symbol = code[i];
    if (symbol < 0 || symbol >= symbols) return -1;
    if (ts < opened || ts >= closed) return -2;
    const int64_t known = at[symbol];
    int64_t bucket;
    if (known >= 0 && ts >= opened + parts[known].bucket * base && ts < opened + (parts[known].bucket + 1) * base)
      bucket = parts[known].bucket;
    else
      bucket = (ts - opened) / base;
    const int64_t end = std::min(opened + (bucket + 1) * base, closed);
    if (end <= due || ts_recv[i] > end + grace) {
      ++late[symbol];
      continue;
    }
    if (known < 0 || parts[known].bucket != bucket) {
      if (count >= places) return -3;
      parts[count] = Part{symbol, bucket, -1, 0, ltp[i], ltp[i], ltp[i], ltp[i]};
      at[symbol] = count++;
    }
    Part part = parts[at[symbol]];  // and all that follow of the same bar, out of registers
    const int64_t begun = opened + bucket * base, first = i;
    do {
      const double price = ltp[i];
      const int64_t quantity = traded[i];
      part.high = std::max(part.high, price);
      part.low = std::min(part.low, price);
      part.close = price;
      if (quantity >= 0) part.volume = std::max<int64_t>(part.volume, 0) + quantity;
      ++i;
    } while (i < n && code[i] == symbol && ts_event[i] >= begun && ts_event[i] < end && ts_recv[i] <= end + grace);
    part.ticks += i - first;
    --i;
    parts[at[symbol]] = part;
  }
  return count;
}

}  // extern "C"
