"""The native kernel: C++ sources, and how they become a library on this machine."""
