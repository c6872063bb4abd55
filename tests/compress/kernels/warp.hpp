// A warp on a processor: a Float holds the 32 floats of its lanes. Put before compress/kernels/warp.cu.
#include <cmath>
#include <cstring>

template <typename T> struct Lanes {
  T v[32];
  Lanes() {}
  Lanes(T all) { for (T& each : v) each = all; }
};
typedef Lanes<float> Float;
typedef Lanes<int> Int;
typedef Lanes<bool> Mask;
static int current_warp;

#define KERNEL extern "C" void
#define LANES static inline
#define SHARED(type) static type shared
#define UNROLL
#define EACH(expression) for (int l = 0; l < 32; l++) out.v[l] = expression; return out
#define OPERATOR(symbol, type, result) \
  static inline result operator symbol(const type& a, const type& b) { result out; EACH(a.v[l] symbol b.v[l]); }
OPERATOR(+, Float, Float) OPERATOR(-, Float, Float) OPERATOR(*, Float, Float) OPERATOR(/, Float, Float)
OPERATOR(<, Float, Mask) OPERATOR(>, Float, Mask) OPERATOR(==, Float, Mask)
OPERATOR(+, Int, Int) OPERATOR(*, Int, Int) OPERATOR(&, Int, Int) OPERATOR(|, Int, Int) OPERATOR(^, Int, Int)
OPERATOR(<<, Int, Int) OPERATOR(>>, Int, Int) OPERATOR(<, Int, Mask) OPERATOR(==, Int, Mask)
OPERATOR(&&, Mask, Mask) OPERATOR(!=, Mask, Mask)

LANES int warp_index() { return current_warp; }
LANES Int lane_index() { Int out; EACH(l); }
LANES void sync() {}
LANES Float select(Mask mask, Float yes, Float no) { Float out; EACH(mask.v[l] ? yes.v[l] : no.v[l]); }
LANES Int select(Mask mask, Int yes, Int no) { Int out; EACH(mask.v[l] ? yes.v[l] : no.v[l]); }
LANES Float fma(Float x, Float y, Float z) { Float out; EACH(fmaf(x.v[l], y.v[l], z.v[l])); }
LANES Float rint(Float x) { Float out; EACH(rintf(x.v[l])); }
LANES Float floor(Float x) { Float out; EACH(floorf(x.v[l])); }
LANES Int to_int(Float x) { Int out; EACH((int)x.v[l]); }
LANES Float to_float(Int x) { Float out; EACH((float)x.v[l]); }
LANES Int bits_of(Float x) { Int out; memcpy(out.v, x.v, sizeof out.v); return out; }
LANES Float shuffle(Float value, Int lane) { Float out; EACH(value.v[lane.v[l] & 31]); }
LANES Int shuffle(Int value, Int lane) { Int out; EACH(value.v[lane.v[l] & 31]); }
LANES unsigned ballot(Mask mask) { unsigned word = 0; for (int l = 0; l < 32; l++) word |= (unsigned)mask.v[l] << l; return word; }
LANES Int bit(unsigned word, Int at) { Int out; EACH((int)(word >> at.v[l] & 1u)); }
LANES Float get(const float* row) { Float out; EACH(row[l]); }
LANES Float get(const float* row, Int lane) { Float out; EACH(row[lane.v[l]]); }
LANES Int get(const short* row, Int lane) { Int out; EACH(row[lane.v[l]]); }
LANES void put(float* row, Float value) { for (int l = 0; l < 32; l++) row[l] = value.v[l]; }
LANES void put(short* row, Int value) { for (int l = 0; l < 32; l++) row[l] = (short)value.v[l]; }
LANES Float gather(const float* from, Int at) { Float out; EACH(from[at.v[l]]); }
LANES Int gather(const short* from, Int at) { Int out; EACH(from[at.v[l]]); }
LANES Int gather(const long long* from, Int at) { Int out; EACH((int)from[at.v[l]]); }
LANES void scatter(float* to, Int at, Float value, Mask mask) { for (int l = 0; l < 32; l++) if (mask.v[l]) to[at.v[l]] = value.v[l]; }
LANES void scatter(short* to, Int at, Int value, Mask mask) { for (int l = 0; l < 32; l++) if (mask.v[l]) to[at.v[l]] = (short)value.v[l]; }
LANES void scatter_row(float* to, Int row, int stride, Float value, Mask mask) {
  for (int l = 0; l < 32; l++) if (mask.v[l]) to[(long long)row.v[l] * stride] = value.v[l];
}
LANES void scatter_row(short* to, Int row, int stride, Int value, Mask mask) {
  for (int l = 0; l < 32; l++) if (mask.v[l]) to[(long long)row.v[l] * stride] = (short)value.v[l];
}
extern "C" void set_warp(int warp) { current_warp = warp; }
