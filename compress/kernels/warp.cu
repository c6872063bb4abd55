// The hot loops of `grid` for a GPU: the same integers and values as reference.py.
//
// This file is compiled in two ways. NVRTC compiles it as CUDA: a Float is the float of one thread. The tests compile
// it as C++ with definitions of their own (tests/compress/kernels/warp.hpp): a Float is the 32 floats of a warp. So
// control flow has to be the same in all lanes of a warp; what differs between them is chosen by `select`. Nothing is
// fused into multiply-and-add but what calls `fma`.
//
// Matrices are inputs × outputs (places × sequences) and contiguous. No lane reads or writes beyond `outputs`.

#ifdef __CUDACC__
typedef float Float;
typedef int Int;
typedef bool Mask;
#define KERNEL extern "C" __global__ void
#define LANES static __device__ __forceinline__
#define SHARED(type) \
  extern __shared__ char memory[]; \
  type& shared = ((type*)memory)[threadIdx.x >> 5]
#define UNROLL _Pragma("unroll")

LANES int warp_index() { return (int)((blockIdx.x * blockDim.x + threadIdx.x) >> 5); }
LANES Int lane_index() { return threadIdx.x & 31; }
LANES void sync() { __syncwarp(); }
LANES Float select(Mask mask, Float yes, Float no) { return mask ? yes : no; }
LANES Int select(Mask mask, Int yes, Int no) { return mask ? yes : no; }
LANES Float fma(Float x, Float y, Float z) { return __fmaf_rn(x, y, z); }
LANES Float rint(Float x) { return rintf(x); }
LANES Float floor(Float x) { return floorf(x); }
LANES Int to_int(Float x) { return (int)x; }
LANES Float to_float(Int x) { return (float)x; }
LANES Int bits_of(Float x) { return __float_as_int(x); }
LANES Float shuffle(Float value, Int lane) { return __shfl_sync(0xffffffffu, value, lane); }
LANES Int shuffle(Int value, Int lane) { return __shfl_sync(0xffffffffu, value, lane); }
LANES unsigned ballot(Mask mask) { return __ballot_sync(0xffffffffu, mask); }
LANES Int bit(unsigned word, Int at) { return (int)(word >> at & 1u); }
// A row of 32 in shared memory: a lane's own place, or that of another lane.
LANES Float get(const float* row) { return row[threadIdx.x & 31]; }
LANES Float get(const float* row, Int lane) { return row[lane]; }
LANES Int get(const short* row, Int lane) { return row[lane]; }
LANES void put(float* row, Float value) { row[threadIdx.x & 31] = value; }
LANES void put(short* row, Int value) { row[threadIdx.x & 31] = (short)value; }
// Global memory, at an index of each lane's own.
LANES Float gather(const float* from, Int at) { return from[at]; }
LANES Int gather(const short* from, Int at) { return from[at]; }
LANES Int gather(const long long* from, Int at) { return (int)from[at]; }
LANES void scatter(float* to, Int at, Float value, Mask mask) { if (mask) to[at] = value; }
LANES void scatter(short* to, Int at, Int value, Mask mask) { if (mask) to[at] = (short)value; }
LANES void scatter_row(float* to, Int row, int stride, Float value, Mask mask) {
  if (mask) to[(long long)row * stride] = value;
}
LANES void scatter_row(short* to, Int row, int stride, Int value, Mask mask) {
  if (mask) to[(long long)row * stride] = (short)value;
}
#endif

const int BLOCK = 128;  // columns between two decisions for one survivor
const int STRIDE = 8;   // columns between two updates of a block's errors
const float FAR = 1e30f;

struct TrellisMemory {  // of one warp
  float errors[BLOCK][32];
  short kept[BLOCK][32];   // the integer that each survivor took
  unsigned chosen[BLOCK];  // a bit a lane: whether it came by the second way
};

struct PlainMemory {
  float errors[BLOCK][32];
};

// The nearest of the values point + 2 · whole number.
LANES Float nearest(Float u, Float point) { return rint((u - point) * 0.5f) * 2.0f + point; }

// How far the value of an integer lies nearer to zero than its point.
LANES Float shift_of(Float k, const float* shifts) {
  Float shift = select(k > 0.0f, Float(shifts[2]), Float(-shifts[2]));
  shift = select(k == -1.0f, Float(-shifts[1]), shift);
  return select(k == 0.0f, Float(shifts[0]), shift);
}

// The value of an integer of plain rounding, in steps: the centroid of its cell.
LANES Float centroid(Float q, float first, float others) {
  const Float sign = select(q > 0.0f, Float(1.0f), select(q < 0.0f, Float(-1.0f), Float(0.0f)));
  return q - select(q == sign, sign * first, sign * others);
}

// At most BLOCK columns by the trellis: the integers and errors of the best path. A warp takes 4 outputs × 8 states.
// `lower` is the block's own part of U, transposed; `cost` (8 × outputs) what each state costs, before and after.
KERNEL trellis_block(const float* columns, const float* lower, const float* steps, const float* weights,
                     const float* shifts, int fed, int width, int outputs, float* cost, short* integers,
                     float* errors) {
  SHARED(TrellisMemory);
  const Int lane = lane_index(), state = lane & 7, first_lane = lane & 24;
  const Int output = (lane >> 3) + warp_index() * 4;
  const Mask there = output < outputs;
  const Int column = select(there, output, Int(outputs - 1));
  // The machine: its bits (x, y, z) become (x ^ y, z ^ odd, x). Two states that differ in z lead into each state.
  const Int x = state & 1, y = (state >> 2) ^ x;
  const Int before = first_lane | (x << 2) | (y << 1);  // the lane of the first way; the second is the next
  const Mask first_odd = (state & 2) == 2;              // whether the integer on the first way is odd
  const Float sign = select((state & 4) == 4, Float(-1.0f), Float(1.0f));
  const Float turned = select(x == 1, Float(-1.0f), Float(1.0f));
  Float survivor = 0.0f;
  for (int s = 0; s < 8; s++) {
    survivor = select(state == s, gather(cost + (long long)s * outputs, column), survivor);
  }
  for (int begin = 0; begin < width; begin += STRIDE) {
    const int some = width - begin < STRIDE ? width - begin : STRIDE;
    Float mixed[STRIDE];  // what lies before a column are errors, what lies after it targets
    UNROLL for (int c = 0; c < STRIDE; c++) mixed[c] = 0.0f;
    if (fed) {
      for (int j = 0; j < begin; j++) {
        const Float error = get(shared.errors[j]);
        UNROLL for (int c = 0; c < STRIDE; c++) {
          if (c < some) mixed[c] = fma(Float(lower[(begin + c) * width + j]), error, mixed[c]);
        }
      }
    }
    UNROLL for (int c = 0; c < STRIDE; c++) {
      if (c < some) mixed[c] = gather(columns + (long long)(begin + c) * outputs, column) - mixed[c];
    }
    Int origin = lane;
    UNROLL for (int at = 0; at < STRIDE; at++) {
      if (at >= some) continue;
      const int i = begin + at;
      const float weight = weights[i], square = (float)((double)weight * (double)weight);
      const Float u = mixed[at] / steps[i] * sign;
      const Float even = u - nearest(u, 0.25f), odd = u - nearest(u, 1.25f);
      const Float cost_even = survivor + even * even * square, cost_odd = survivor + odd * odd * square;
      const Float even_first = shuffle(cost_even, before), odd_first = shuffle(cost_odd, before);
      const Float even_second = shuffle(cost_even, before + 1), odd_second = shuffle(cost_odd, before + 1);
      const Float first = select(first_odd, odd_first, even_first);
      const Float second = select(first_odd, even_second, odd_second);
      const Mask chosen = second < first;
      survivor = select(chosen, second, first);
      const Int from = select(chosen, before + 1, before);
      const Float target = shuffle(u, from);
      const Float offset = select(chosen != first_odd, Float(1.25f), Float(0.25f));
      const Float point = nearest(target, offset), k = point - 0.25f;
      put(shared.kept[i], to_int(k));
      shared.chosen[i] = ballot(chosen);
      if (!fed) continue;
      const Float error = (target - point + shift_of(k, shifts)) * (turned * weight);
      origin = shuffle(origin, from);
      UNROLL for (int c = 0; c < STRIDE; c++) {
        if (c >= some || c == at) continue;
        const Float of_survivor = shuffle(mixed[c], from);
        mixed[c] = c < at ? of_survivor : of_survivor - error * lower[(begin + c) * width + i];
      }
      mixed[at] = error;
    }
    if (fed) {
      for (int j = 0; j < begin; j++) {
        const Float error = get(shared.errors[j], origin);
        sync();
        put(shared.errors[j], error);
      }
      UNROLL for (int c = 0; c < STRIDE; c++) {
        if (c < some) put(shared.errors[begin + c], mixed[c]);
      }
    }
    sync();
  }
  Int best = 0;
  Float least = shuffle(survivor, first_lane);
  for (int s = 1; s < 8; s++) {
    const Float other = shuffle(survivor, first_lane + s);
    best = select(other < least, Int(s), best);
    least = select(other < least, other, least);
  }
  for (int s = 0; s < 8; s++) {
    scatter(cost + (long long)s * outputs, output, select(best == s, Float(0.0f), Float(FAR)), there && state == s);
  }
  Int on_path = best;
  for (int i = width - 1; i >= 0; i--) {
    const Mask mine = there && state == (i & 7);
    if (fed) scatter(errors + (long long)i * outputs, output, get(shared.errors[i], first_lane | best), mine);
    scatter(integers + (long long)i * outputs, output, get(shared.kept[i], first_lane | on_path), mine);
    const Int turned_before = on_path & 1, other_bit = (on_path >> 2) ^ turned_before;
    on_path = (turned_before << 2) | (other_bit << 1) | bit(shared.chosen[i], first_lane | on_path);
  }
}

// The same by plain rounding. A warp takes 32 outputs.
KERNEL plain_block(const float* columns, const float* lower, const float* steps, const float* weights,
                   const float* shifts, int width, int outputs, short* integers, float* errors) {
  SHARED(PlainMemory);
  const Int output = lane_index() + warp_index() * 32;
  const Mask there = output < outputs;
  const Int column = select(there, output, Int(outputs - 1));
  for (int i = 0; i < width; i++) {
    Float value = gather(columns + (long long)i * outputs, column);
    for (int j = 0; j < i; j++) value = fma(Float(-lower[i * width + j]), get(shared.errors[j]), value);
    const Float scaled = value / steps[i], q = rint(scaled);
    const Float error = (scaled - centroid(q, shifts[0], shifts[1])) * weights[i];
    put(shared.errors[i], error);
    scatter(integers + (long long)i * outputs, output, to_int(q), there);
    scatter(errors + (long long)i * outputs, output, error, there);
  }
}

// Weights, outputs × inputs, of integers whose inputs and outputs are sorted: float32, or bfloat16 where `half`.
// `order` and `rows` say where each belongs. `shifts`: two of plain rounding, three of the trellis. A warp takes 32
// outputs.
KERNEL decode_columns(const short* integers, const long long* order, const long long* rows, const float* column_steps,
                      const float* row_steps, const float* scales, const float* shifts, int plain, int inputs,
                      int outputs, int half, float* out) {
  const Int output = lane_index() + warp_index() * 32;
  const Mask there = output < outputs;
  const Int column = select(there, output, Int(outputs - 1));
  const Int row = gather(rows, column);
  const Float row_step = gather(row_steps, column), scale = gather(scales, column);
  // Whether signs are turned is, at a place, what it was at the one before, exclusive or what it was three before,
  // exclusive or whether the integer two before was odd; here each as a factor of 1 or -1.
  Float turned1 = 1.0f, turned2 = 1.0f, turned3 = 1.0f, odd1 = 1.0f, odd2 = 1.0f;
  for (int place = 0; place < inputs; place++) {
    const Float q = to_float(gather(integers + (long long)place * outputs, column));
    Float point;
    if (place < plain) {
      point = centroid(q, shifts[0], shifts[1]);
    } else {
      const Float turned = turned1 * turned3 * odd2;
      point = (q + 0.25f - shift_of(q, shifts + 2)) * turned;
      const Float halved = q * 0.5f;
      turned3 = turned2;
      turned2 = turned1;
      turned1 = turned;
      odd2 = odd1;
      odd1 = Float(1.0f) - (halved - floor(halved)) * 4.0f;
    }
    const Float weight = point * column_steps[place] * row_step * scale;
    if (half) {
      const Int word = bits_of(weight);
      scatter_row((short*)out + order[place], row, inputs, (word + 0x7fff + ((word >> 16) & 1)) >> 16, there);
    } else {
      scatter_row(out + order[place], row, inputs, weight, there);
    }
  }
}
