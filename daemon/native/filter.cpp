// The tick filter's rules, one tick after the other: daemon/feed/tick_filter.py and cumulative_volume.py say what they
// are for, and their plain form is what this one is tested against.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "columns.hpp"

namespace {

constexpr int COMPARED = 9;  // volume, last_qty, bid, ask, bid_qty, ask_qty, oi, ts_event, ltp

enum Verdict { KEEP, UNKNOWN_SYMBOL, BAD_TIME, OUTSIDE_SESSION, BAD_PRICE, BAD_QUANTITY, BACKWARD_TIME, DUPLICATE };
enum Repair { VOLUME_FELL = 7, FALSE_VOLUME, COUNTS };  // their places behind those of the seven rejections

struct Limits {  // the order is that of LIMITS in kernel.py
  int64_t first_valid, last_valid, max_skew, ist_offset, day_ns, max_quantity;
  int64_t believed_after, believed_after_ns, believed_after_silence, silence_ns;
  double min_price, max_price;
};

struct Stream {  // the order is that of STREAM in kernel.py
  double max_jump, few_ticks, price, level;
  int64_t ts, day, agreeing, since, kept, has_row, newest;  // `newest`: its last accepted row of this call, else -1
  int64_t row[COMPARED];
  int64_t volume_day, top, falling, first, latest, falling_since;
};

struct Tick {
  int64_t ts, day, volume, last_qty;
  double price;
};

bool believed(const Limits& limits, int64_t agreeing, int64_t kept, int64_t lasting, int64_t silent) {
  if (kept < limits.believed_after) return agreeing > kept;
  if (silent >= limits.silence_ns && agreeing >= limits.believed_after_silence) return true;
  return agreeing >= limits.believed_after && lasting >= limits.believed_after_ns;
}

int64_t bits(double value) {
  int64_t found;
  std::memcpy(&found, &value, sizeof found);
  return found;
}

// Whether a tick is far from the last one, and its level not believed; notes how many in a row agree on a new level.
bool jumped(const Limits& limits, Stream& s, const Tick& tick) {
  if (tick.day != s.day || !(std::fabs(tick.price - s.price) > std::max(s.price * s.max_jump, s.few_ticks))) {
    s.agreeing = 0;
    return false;
  }
  if (s.agreeing && std::fabs(tick.price - s.level) <= std::max(s.level * s.max_jump, s.few_ticks)) {
    ++s.agreeing;
  } else {
    s.agreeing = 1;
    s.since = tick.ts;
  }
  s.level = tick.price;
  return !believed(limits, s.agreeing, s.kept, tick.ts - s.since, tick.ts - s.ts);
}

// What an accepted tick traded, -1 where nobody knows.
int64_t traded(const Limits& limits, Stream& s, Tick tick, int64_t* counts) {
  for (int64_t* field : {&tick.volume, &tick.last_qty}) {
    if (*field == 2147483647LL || *field == 2147483648LL || *field == 4294967295LL) {
      *field = -1;  // a field of 32 bits that nobody filled
      ++counts[FALSE_VOLUME];
    }
  }
  if (tick.day != s.volume_day) {
    s.volume_day = tick.day;
    s.top = -1;
    s.falling = 0;
  }
  const int64_t reading = tick.volume;
  if (s.top < 0) {
    s.top = reading;
    return reading >= 0 ? std::max<int64_t>(tick.last_qty, 0) : tick.last_qty;
  }
  if (reading >= s.top) {
    const int64_t grown = reading - s.top;
    s.top = reading;
    s.falling = 0;
    return grown;
  }
  if (reading < 0) return 0;
  ++counts[VOLUME_FELL];
  if (reading == 0) return 0;  // no total any more, whatever it is: no level that others could agree on
  if (s.falling && reading >= s.latest) {
    ++s.falling;
  } else {
    s.falling = 1;
    s.first = reading;
    s.falling_since = tick.ts;
  }
  s.latest = reading;
  const bool silent =
      s.falling >= limits.believed_after_silence && tick.ts - s.falling_since >= limits.silence_ns;
  if (s.falling < limits.believed_after && !silent) return 0;
  s.top = reading;
  s.falling = 0;
  ++counts[FALSE_VOLUME];
  return reading - s.first;
}

}  // namespace

extern "C" {

// Judges n ticks. `known` and `slots` are of each symbol's code: whether anybody knows it, and where its stream is.
// Fills `kept` with the rows that are accepted and `sums` with what they traded, and adds to `counts`. Returns how many
// are accepted; -1 where an argument is of another form, -2 where a stamp lies outside [open_from, open_to), of which
// all is in a session, and `in_session` is empty: then nothing was changed.
int64_t hrmd_filter(int64_t n, void* code_, void* ts_event_, void* ts_recv_, void* ltp_, void* last_qty_, void* volume_,
                    void* bid_, void* ask_, void* bid_qty_, void* ask_qty_, void* oi_, int64_t open_from, int64_t open_to,
                    void* in_session_, void* known_,
                    void* slots_, void* streams_, void* limits_, void* kept_, void* sums_, void* counts_) {
  const hrmd::Column<int32_t> codes(code_);
  const hrmd::Column<int64_t> events(ts_event_), receipts(ts_recv_), quantities(last_qty_), volumes(volume_),
      bid_sizes(bid_qty_), ask_sizes(ask_qty_), interests(oi_), places(slots_);
  const hrmd::Column<double> prices(ltp_), bids(bid_), asks(ask_);
  const hrmd::Column<uint8_t> sessions(in_session_), knowledge(known_);
  const hrmd::Column<Stream> memory(streams_, true);
  const hrmd::Column<Limits> limits_column(limits_);
  const hrmd::Column<int64_t> rows(kept_, true), parts(sums_, true), tally(counts_, true);
  for (const int64_t size : {codes.size(), events.size(), receipts.size(), quantities.size(), volumes.size(),
                             bid_sizes.size(), ask_sizes.size(), interests.size(), prices.size(), bids.size(),
                             asks.size(), sessions.size() ? sessions.size() : n})
    if (size != n) return -1;
  const int64_t symbols = knowledge.size();
  if (rows.size() < n || parts.size() < n || tally.size() < COUNTS || limits_column.size() != 1 ||
      places.size() != symbols)
    return -1;
  const auto slots = places.values();
  for (int64_t i = 0; i < symbols; ++i)
    if (slots[i] < 0 || slots[i] >= memory.size()) return -1;

  const auto code = codes.values();
  const auto ts_event = events.values(), ts_recv = receipts.values(), last_qty = quantities.values(),
             volume = volumes.values(), bid_qty = bid_sizes.values(), ask_qty = ask_sizes.values(),
             oi = interests.values(), kept = rows.values(), sums = parts.values();
  const auto ltp = prices.values(), bid = bids.values(), ask = asks.values();
  const auto in_session = sessions.values(), known = knowledge.values();
  const auto streams = memory.values();
  const bool asked = sessions.size() > 0;
  if (!asked) {
    bool inside = true;
    for (int64_t i = 0; i < n; ++i) inside &= ts_event[i] >= open_from && ts_event[i] < open_to;
    if (!inside) return -2;
  }
  const auto row_of = [&](int64_t i, int64_t* row) {
    const int64_t all[COMPARED] = {volume[i],  last_qty[i], bits(bid[i]), bits(ask[i]), bid_qty[i],
                                   ask_qty[i], oi[i],       ts_event[i],  bits(ltp[i])};
    std::memcpy(row, all, sizeof all);
  };
  for (int64_t i = 0; i < symbols; ++i) streams[slots[i]].newest = -1;
  const Limits limits = limits_column.values()[0];
  int64_t* counts = &tally.values()[0];
  int64_t accepted = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t symbol = code[i];
    Tick tick{ts_event[i], 0, volume[i], last_qty[i], ltp[i]};
    Verdict verdict = KEEP;
    if (symbol < 0 || symbol >= symbols || !known[symbol]) {
      verdict = UNKNOWN_SYMBOL;
    } else if (tick.ts < limits.first_valid || tick.ts >= limits.last_valid || tick.ts - limits.max_skew > ts_recv[i]) {
      verdict = BAD_TIME;
    } else if (asked && !in_session[i]) {
      verdict = OUTSIDE_SESSION;
    } else if (!(tick.price >= limits.min_price && tick.price < limits.max_price) || bid[i] >= limits.max_price ||
               ask[i] >= limits.max_price) {
      verdict = BAD_PRICE;
    } else if (tick.volume > limits.max_quantity || tick.last_qty > limits.max_quantity) {
      verdict = BAD_QUANTITY;
    }
    if (verdict != KEEP) {
      ++counts[verdict - 1];
      continue;
    }
    Stream& s = streams[slots[symbol]];
    const int64_t since_day = tick.ts + limits.ist_offset - s.day * limits.day_ns;
    tick.day = since_day >= 0 && since_day < limits.day_ns ? s.day : (tick.ts + limits.ist_offset) / limits.day_ns;
    if (jumped(limits, s, tick)) {
      verdict = BAD_PRICE;
    } else if (tick.ts < s.ts) {
      verdict = BACKWARD_TIME;
    } else if (tick.ts == s.ts && tick.price == s.price && s.has_row && !(tick.volume < 0 && tick.last_qty > 0)) {
      const int64_t last = s.newest;
      if (last < 0 || (volume[i] == volume[last] && last_qty[i] == last_qty[last])) {  // most differ here already
        int64_t row[COMPARED];
        if (last >= 0) row_of(last, s.row);
        row_of(i, row);
        if (std::equal(row, row + COMPARED, s.row)) verdict = DUPLICATE;
      }
    }
    if (verdict != KEEP) {
      ++counts[verdict - 1];
      continue;
    }
    s.kept = tick.day == s.day && !s.agreeing ? s.kept + 1 : 1;
    s.agreeing = 0;
    s.ts = tick.ts;
    s.day = tick.day;
    s.price = tick.price;
    s.has_row = 1;
    s.newest = i;
    kept[accepted] = i;
    sums[accepted] = traded(limits, s, tick, counts);
    ++accepted;
  }
  for (int64_t i = 0; i < symbols; ++i) {
    Stream& s = streams[slots[i]];
    if (s.newest >= 0) row_of(s.newest, s.row);
  }
  return accepted;
}

}  // extern "C"
