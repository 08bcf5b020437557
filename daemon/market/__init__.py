"""Facts of the market: sessions, instruments, costs. Dated tables turned into answers; nothing here trades."""
