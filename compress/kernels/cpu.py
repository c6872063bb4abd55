"""The hot loops of `grid` compiled for the processor by numba: the same integers and values as reference.py.

Outputs (rows of a weight matrix) go side by side in the lanes of a vector, LANES at once. What the trellis keeps for
each of its eight states is one value of a numba type of its own, `STATES`: 8 × LANES float32, state after state. LLVM
cuts it into eight registers, so that taking over another state's values is a choice between two registers and moves no
data. Nothing is fused into multiply-and-add but what calls `fma`, so results do not depend on the processor's taste.

Everything compiled lies in this one file, because numba's cache notices changes of the file of a function only.
Arrays are inputs × outputs (places × sequences) and contiguous. All kernels run without the GIL; the callers in
dispatch.py give each thread a slice of the outputs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.extending import intrinsic, models, overload, register_model

# Sixteen float32 fill a register of AVX-512, eight one of AVX2. Cached code is kept apart by the kind of processor.
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
WIDTH = 8 * LANES
BLOCK = 128  # columns between two decisions for one survivor
_LINE = 16  # float32 in a line of the cache
STRIDE = 8  # columns between two updates of a block's errors
FAR = np.float32(1e30)

_FLOATS, _BYTES = ir.VectorType(ir.FloatType(), WIDTH), ir.VectorType(ir.IntType(8), WIDTH)
_WORDS, _SHORTS = ir.VectorType(ir.IntType(32), WIDTH), ir.VectorType(ir.IntType(16), WIDTH)
_BITS = ir.VectorType(ir.IntType(1), WIDTH)


class _Vector(types.Type):
    """float32 for 8 states × LANES outputs, or for 8 × LANES outputs."""


class _Mask(types.Type):
    """A bit for each element of a vector."""


STATES, MASK = _Vector(f"float32x{WIDTH}"), _Mask(f"bits{WIDTH}")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _BITS)


def _operator(symbol: Any, result: types.Type, emit: Callable[..., Any]) -> None:
    """Let an operator of Python stand for an instruction on two vectors."""

    @intrinsic
    def instruction(typingctx, x, y):
        return result(STATES, STATES), lambda context, builder, signature, args: emit(builder, *args)

    @overload(symbol, inline="always")
    def on_vectors(x, y):
        if x is STATES and y is STATES:
            return lambda x, y: instruction(x, y)
        return None


_operator(operator.add, STATES, lambda builder, x, y: builder.fadd(x, y))
_operator(operator.sub, STATES, lambda builder, x, y: builder.fsub(x, y))
_operator(operator.mul, STATES, lambda builder, x, y: builder.fmul(x, y))
_operator(operator.truediv, STATES, lambda builder, x, y: builder.fdiv(x, y))
_operator(operator.lt, MASK, lambda builder, x, y: builder.fcmp_ordered("<", x, y))
_operator(operator.gt, MASK, lambda builder, x, y: builder.fcmp_ordered(">", x, y))
_operator(operator.eq, MASK, lambda builder, x, y: builder.fcmp_ordered("==", x, y))


def _shuffled(builder: Any, x: Any, y: Any, sources: list[int]) -> Any:
    """For each state the values of one of the 16 states of two vectors."""
    indices = [source * LANES + lane for source in sources for lane in range(LANES)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), indices))


def _shuffle(sources: list[int]) -> Any:
    @intrinsic
    def shuffle(typingctx, x, y):
        return STATES(STATES, STATES), lambda context, builder, signature, args: _shuffled(
            builder, args[0], args[1], sources
        )

    return shuffle


def _states(values: list[int]) -> Any:
    """A constant with one value for each state."""

    @intrinsic
    def constant(typingctx):
        elements = [value for value in values for _ in range(LANES)]
        return STATES(), lambda context, builder, signature, args: ir.Constant(_FLOATS, elements)

    return constant


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


@intrinsic
def splat(typingctx, scalar):
    """One float32 for all."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_WORDS, [0] * WIDTH))

    return STATES(types.float32), emit


@intrinsic
def load(typingctx, array, at):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], _FLOATS), align=4)

    return STATES(array, types.intp), emit


@intrinsic
def load_lanes(typingctx, array, at):
    """LANES float32, the same for every state."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), LANES)
        value = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], lanes), align=4)
        repeated = ir.Constant(_WORDS, list(range(LANES)) * 8)
        return builder.shuffle_vector(value, ir.Constant(lanes, ir.Undefined), repeated)

    return STATES(array, types.intp), emit


@intrinsic
def store(typingctx, array, at, value):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1], _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, STATES), emit


@intrinsic
def store_integers(typingctx, array, at, value):
    """As integers of the array's width. What does not fit wraps: callers keep to the range."""
    kind = {types.int8: _BYTES, types.int16: _SHORTS}[array.dtype]

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integers = builder.trunc(builder.fptosi(args[2], _WORDS), kind)
        builder.store(integers, _pointer(context, builder, signature.args[0], args[0], args[1], kind), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, STATES), emit


@intrinsic
def load_integers(typingctx, array, at):
    """Integers of 16 bits, as floats."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], _SHORTS)
        return builder.sitofp(builder.load(pointer, align=2), _FLOATS)

    return STATES(array, types.intp), emit


def _library_function(name: str, count: int) -> Any:
    def call(builder: Any, args: Any) -> Any:
        function = ir.FunctionType(_FLOATS, [_FLOATS] * count)
        return builder.call(builder.module.declare_intrinsic(f"llvm.{name}.v{WIDTH}f32", fnty=function), args)

    return call


_RINT, _FLOOR, _FMA = _library_function("rint", 1), _library_function("floor", 1), _library_function("fma", 3)


@intrinsic
def rint(typingctx, x):
    return STATES(STATES), lambda context, builder, signature, args: _RINT(builder, args)


@intrinsic
def floor(typingctx, x):
    return STATES(STATES), lambda context, builder, signature, args: _FLOOR(builder, args)


@intrinsic
def fma(typingctx, x, y, z):
    """x · y + z, rounded once."""
    return STATES(STATES, STATES, STATES), lambda context, builder, signature, args: _FMA(builder, args)


@intrinsic
def negative(typingctx, x):
    return STATES(STATES), lambda context, builder, signature, args: builder.fneg(args[0])


@intrinsic
def select(typingctx, mask, yes, no):
    return STATES(MASK, STATES, STATES), lambda context, builder, signature, args: builder.select(*args)


# The machine of the trellis, as reference.py has it: for each state the two ways into it.
_BEFORE = [[0, 6, 0, 6, 2, 4, 2, 4], [1, 7, 1, 7, 3, 5, 3, 5]]  # the states before, by the first and the second way
_ODD = [[0, 0, 1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1, 0, 0]]  # whether the integer on the way is odd
_first_way = _shuffle([before + 8 * odd for before, odd in zip(_BEFORE[0], _ODD[0], strict=True)])
_second_way = _shuffle([before + 8 * odd for before, odd in zip(_BEFORE[1], _ODD[1], strict=True)])
_first_before, _second_before = _shuffle(_BEFORE[0]), _shuffle(_BEFORE[1])
_first_state, _second_state = _states(_BEFORE[0]), _states(_BEFORE[1])
_own_state = _states(list(range(8)))
_sign = _states([1 - 2 * (state >> 2) for state in range(8)])  # the first bit of a state: signs are turned
_turned = _states([1 - 2 * (state & 1) for state in range(8)])  # the last: they were, on both ways into it
_each_state = [_shuffle([state] * 8) for state in range(8)]
_s0, _s1, _s2, _s3, _s4, _s5, _s6, _s7 = _each_state

_inner = njit(forceinline=True, error_model="numpy", no_cfunc_wrapper=True)


def _kernel(function):
    """Compile with numba's cache, or, where none can be written, without."""
    try:
        return njit(cache=True, error_model="numpy", nogil=True)(function)
    except RuntimeError:
        return njit(error_model="numpy", nogil=True)(function)


_ZERO, _QUARTER, _HALF, _ONE, _TWO, _FOUR = (np.float32(value) for value in (0, 0.25, 0.5, 1, 2, 4))
_SHIFT = np.float32(1.25)


@_inner
def _nearest(u, point):
    """The nearest of the values point + 2 · whole number."""
    return rint((u - point) * splat(_HALF)) * splat(_TWO) + point


@_inner
def _take_over(chosen, values):
    """For each state what its survivor had in the state before."""
    return select(chosen, _second_before(values, values), _first_before(values, values))


@_inner
def _from_states(values, states):
    """For each state the value of the state that `states` names, lane by lane."""
    out = _s0(values, values)
    out = select(states == splat(np.float32(1)), _s1(values, values), out)
    out = select(states == splat(np.float32(2)), _s2(values, values), out)
    out = select(states == splat(np.float32(3)), _s3(values, values), out)
    out = select(states == splat(np.float32(4)), _s4(values, values), out)
    out = select(states == splat(np.float32(5)), _s5(values, values), out)
    out = select(states == splat(np.float32(6)), _s6(values, values), out)
    return select(states == splat(np.float32(7)), _s7(values, values), out)


@_inner
def _shift_of(k, shifts):
    """How far the value of an integer lies nearer to zero than its point."""
    outer = splat(shifts[2])
    shift = select(k > splat(_ZERO), outer, negative(outer))
    shift = select(k == splat(-_ONE), splat(-shifts[1]), shift)
    return select(k == splat(_ZERO), splat(shifts[0]), shift)


@_inner
def _trellis_lanes(targets, lower, steps, weights, shifts, fed, cost, history, mixed, kept, came):
    """A block of columns of LANES outputs, for each survivor with the errors of its own path.

    Scratch: `history` (errors) and `kept` (integers) and `came` (the state before), column × state × lane; `mixed`,
    of a stride: what lies before a column are errors, what lies after it targets.
    """
    quarter, further = splat(_QUARTER), splat(_SHIFT)
    survivors = load(cost, 0)
    for begin in range(0, steps.size, STRIDE):
        end = min(begin + STRIDE, steps.size)
        for i in range(begin, end):
            total = splat(_ZERO)
            if fed:
                for j in range(begin):
                    total = fma(splat(lower[i, j]), load(history, j * WIDTH), total)
            store(mixed, (i - begin) * WIDTH, load_lanes(targets, i * LANES) - total)
        origin = _own_state()
        for i in range(begin, end):
            weight = splat(weights[i])
            square = splat(np.float32(np.float64(weights[i]) * np.float64(weights[i])))
            u = load(mixed, (i - begin) * WIDTH) / splat(steps[i]) * _sign()
            even, odd = _nearest(u, quarter), _nearest(u, further)
            wrong_even, wrong_odd = u - even, u - odd
            cost_even = survivors + wrong_even * wrong_even * square
            cost_odd = survivors + wrong_odd * wrong_odd * square
            first, second = _first_way(cost_even, cost_odd), _second_way(cost_even, cost_odd)
            chosen = second < first
            survivors = select(chosen, second, first)
            k = select(chosen, _second_way(even, odd), _first_way(even, odd)) - quarter
            store_integers(kept, i * WIDTH, k)
            store_integers(came, i * WIDTH, select(chosen, _second_state(), _first_state()))
            if fed:
                wrong = select(chosen, _second_way(wrong_even, wrong_odd), _first_way(wrong_even, wrong_odd))
                error = (wrong + _shift_of(k, shifts)) * (_turned() * weight)
                origin = _take_over(chosen, origin)
                for c in range(begin, i):
                    store(history, c * WIDTH, _take_over(chosen, load(history, c * WIDTH)))
                store(history, i * WIDTH, error)
                for c in range(i + 1, end):
                    rest = _take_over(chosen, load(mixed, (c - begin) * WIDTH))
                    store(mixed, (c - begin) * WIDTH, rest - splat(lower[c, i]) * error)
        if fed:
            for j in range(begin):
                store(history, j * WIDTH, _from_states(load(history, j * WIDTH), origin))
    store(cost, 0, survivors)


@_kernel
def trellis_block(columns, lower, steps, weights, shifts, fed, cost, integers, errors, begin, end):
    """At most BLOCK columns of the outputs `begin` to `end`: the integers and errors of the best path.

    `lower` is the block's own part of U, transposed; `cost` (8 × outputs) what each state costs, before and after.
    """
    width = steps.size
    history, mixed = np.empty(BLOCK * WIDTH, np.float32), np.empty(STRIDE * WIDTH, np.float32)
    kept, came = np.empty(BLOCK * WIDTH, np.int16), np.empty(BLOCK * WIDTH, np.int8)
    targets, costs = np.zeros(BLOCK * LANES, np.float32), np.zeros(WIDTH, np.float32)
    for left in range(begin, end, LANES):
        lanes = min(LANES, end - left)
        for i in range(width):
            for lane in range(lanes):
                targets[i * LANES + lane] = columns[i, left + lane]
        for state in range(8):
            for lane in range(lanes):
                costs[state * LANES + lane] = cost[state, left + lane]
        _trellis_lanes(targets, lower, steps, weights, shifts, fed, costs, history, mixed, kept, came)
        for lane in range(lanes):
            best = 0
            for state in range(1, 8):
                if costs[state * LANES + lane] < costs[best * LANES + lane]:
                    best = state
            for state in range(8):
                cost[state, left + lane] = FAR
            cost[best, left + lane] = _ZERO
            state = best
            for i in range(width - 1, -1, -1):
                at = i * WIDTH + state * LANES + lane
                integers[i, left + lane] = kept[at]
                if fed:
                    errors[i, left + lane] = history[i * WIDTH + best * LANES + lane]
                state = came[at]


@_kernel
def plain_block(columns, lower, steps, weights, shifts, integers, errors, begin, end):
    """The same by plain rounding."""
    width = steps.size
    targets, own = np.zeros(WIDTH, np.float32), np.empty(BLOCK * WIDTH, np.float32)
    kept = np.empty(WIDTH, np.int16)
    first, others = splat(shifts[0]), splat(shifts[1])
    for left in range(begin, end, WIDTH):
        lanes = min(WIDTH, end - left)
        for i in range(width):
            for lane in range(lanes):
                targets[lane] = columns[i, left + lane]
            value = load(targets, 0)
            for j in range(i):
                value = fma(splat(-lower[i, j]), load(own, j * WIDTH), value)
            scaled = value / splat(steps[i])
            k = rint(scaled)
            store(own, i * WIDTH, (scaled - _centroid(k, first, others)) * splat(weights[i]))
            store_integers(kept, 0, k)
            for lane in range(lanes):
                integers[i, left + lane] = kept[lane]
                errors[i, left + lane] = own[i * WIDTH + lane]


@_inner
def _load_some(array, at, many, buffer):
    """Up to WIDTH integers of a flat array as floats, zeros behind them."""
    if many == WIDTH:
        return load_integers(array, at)
    for r in range(WIDTH):
        buffer[r] = array[at + r] if r < many else 0
    return load_integers(buffer, 0)


@_inner
def _centroid(q, first, others):
    """The values of integers of plain rounding, in steps."""
    one, zero = splat(_ONE), splat(_ZERO)
    shift = select(q > one, others, select(q < negative(one), negative(others), zero))
    return q - select(q == one, first, select(q == negative(one), negative(first), shift))


@_kernel
def decode_columns(out, integers, plain, order, rows, column_steps, row_steps, scales, shifts, begin, end):
    """Outputs `begin` to `end` of a group: integers (inputs × outputs, both sorted by step) to weights.

    The first `plain` inputs are of plain rounding, the others of a trellis. `order` and `rows` say which input and
    which output of `out` (outputs × inputs) a place belongs to; `shifts` are the five of a payload.
    """
    flat, outputs = integers.reshape(-1), integers.shape[1]
    first, others, of_trellis = splat(shifts[0]), splat(shifts[1]), shifts[2:]
    buffer = np.zeros(WIDTH, np.int16)
    row_step, scale = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    sorted_values, places = np.empty(order.size * WIDTH, np.float32), np.empty(order.size, np.int64)
    for place in range(order.size):
        places[order[place]] = place
    for left in range(begin, end, WIDTH):
        many = min(WIDTH, end - left)
        row_step[:many], scale[:many] = row_steps[left : left + many], scales[left : left + many]
        # Whether signs are turned is, at a place, what it was at the one before, exclusive or what it was three
        # before, exclusive or whether the integer two before was odd; here each as a factor of 1 or -1.
        turned1, turned2, turned3 = splat(_ONE), splat(_ONE), splat(_ONE)
        odd1, odd2 = splat(_ONE), splat(_ONE)
        for place in range(order.size):
            q = _load_some(flat, place * outputs + left, many, buffer)
            if place < plain:
                point = _centroid(q, first, others)
            else:
                turned = turned1 * turned3 * odd2
                point = (q + splat(_QUARTER) - _shift_of(q, of_trellis)) * turned
                half = q * splat(_HALF)
                turned3, turned2, turned1 = turned2, turned1, turned
                odd2, odd1 = odd1, splat(_ONE) - (half - floor(half)) * splat(_FOUR)
            weight = point * splat(column_steps[place]) * load(row_step, 0) * load(scale, 0)
            store(sorted_values, place * WIDTH, weight)
        # Into rows a cache line at a time: storing a place at once would touch as many lines as there are outputs.
        for column in range(0, order.size, _LINE):
            some = min(_LINE, order.size - column)
            for r in range(many):
                row = rows[left + r]
                for c in range(column, column + some):
                    out[row, c] = sorted_values[places[c] * WIDTH + r]


@_kernel
def decode_flat(out, integers, first, others, scale, begin, end):
    """Weights `begin` to `end` of a matrix with one step."""
    buffer, value = np.zeros(WIDTH, np.int16), np.zeros(WIDTH, np.float32)
    for left in range(begin, end, WIDTH):
        many = min(WIDTH, end - left)
        q = _load_some(integers, left, many, buffer)
        store(value, 0, _centroid(q, splat(first), splat(others)) * splat(scale))
        out[left : left + many] = value[:many]


def warm() -> None:
    """Compile every kernel, or read it from numba's cache, by calling each once as dispatch.py does."""
    one, few = np.ones((1, 1), np.float32), np.ones(1, np.float32)
    places, shifts = np.zeros(1, np.int64), np.zeros(5, np.float32)
    integers = np.zeros((1, 1), np.int16)
    trellis_block(one, one, few, few, shifts[:3], True, np.zeros((8, 1), np.float32), integers, one, 0, 1)
    plain_block(one, one, few, few, shifts[:2], integers, one, 0, 1)
    decode_columns(one, integers, 0, places, places, few, few, few, shifts, 0, 1)
    decode_flat(few, integers[0], _ZERO, _ZERO, _ONE, 0, 1)
