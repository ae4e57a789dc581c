"""A GPU that is not there: tensors that say they are on one, and lie on the CPU.

    with attached() as asked:
        model = on_gpu(model)
        ...
    asked.launches, asked.waits, asked.brought

It shows on any machine what a GPU would be asked to do: how many operations are launched, where
Python waits for a result or until memory was read that is not pinned (parts of pinned memory count
as not pinned), how many bytes the CPU sends, whether tensors of two devices meet, which a GPU
refuses. Values are those of the CPU. It says nothing about speed, memory, streams or the precision
of a GPU's kernels.

CUDA graphs are pretended, too, by their rules
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs): what is captured does not run,
must not wait, and is replayed on the same memory with the numbers that it was captured with.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.weak import WeakIdKeyDictionary

from iterative_grpo.engines import _graphs

DEVICE = torch.device("cuda", 0)

Model = TypeVar("Model", bound=torch.nn.Module)

aten = torch.ops.aten
_MOVES = {aten._to_copy}
# A GPU's tensor may be indexed by indices on the CPU.
_INDEXED = {aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_}
# The shape of the result hangs on the values.
_SIZED_BY_VALUES = {aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim}
_ALLOCATES = {aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty}
# What torch computes on a GPU alone.
_ELSEWHERE: dict[Any, Any] = {
    aten.bmm.dtype: lambda a, b, dtype: torch.bmm(a.to(dtype), b.to(dtype)),
    aten.mm.dtype: lambda a, b, dtype: torch.mm(a.to(dtype), b.to(dtype)),
}


@dataclass
class Asked:
    """What the GPU was asked since this was made or cleared."""

    launches: int = 0
    waits: int = 0
    replays: int = 0
    """Of whole graphs; each is one launch."""
    graphs: int = 0
    brought: int = 0
    """Bytes that came from the CPU."""
    stored: int = 0
    """Attention whose scores a GPU would all store: heads that share keys, masked or in float32."""

    def clear(self) -> None:
        """Start counting anew."""
        self.launches = self.waits = self.replays = self.graphs = self.brought = self.stored = 0


@dataclass
class _State:
    asked: Asked = field(default_factory=Asked)
    capturing: Graph | None = None
    pinned: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)


_state = _State()


def _dispatched(
    _: Any, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> Any:
    return _run(func, args, kwargs or {})


class OnGPU(torch.Tensor):
    """A tensor that says it is on the GPU; `near` has its values."""

    near: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> OnGPU:
        """Return the GPU's face of a tensor on the CPU."""
        # For C++ it is on "meta", the only other device that every build of torch has guards for.
        made: OnGPU = torch.Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            layout=near.layout,
            device=torch.device("meta"),
        )
        made.near = near
        return made

    @property
    def device(self) -> torch.device:
        """Always `DEVICE`."""
        return DEVICE

    @property
    def is_cuda(self) -> bool:
        """Always true."""
        return True

    @property
    def is_meta(self) -> bool:
        """Not for Python."""
        return False

    def tolist(self) -> Any:
        """Return the values, for which Python waits."""
        _wait("tolist")
        return self.near.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Return the values, for which Python waits, if forced; else TypeError, as on a GPU."""
        if not force:
            raise TypeError("a tensor on a GPU has no numpy array; copy it to the CPU first")
        _wait("numpy")
        return self.near.detach().clone().numpy(force=True)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnGPU({self.near!r})"

    __torch_dispatch__ = classmethod(_dispatched)


class _Dispatch(TorchDispatchMode):
    """Sees what makes tensors of nothing that is on the GPU."""

    __torch_dispatch__ = _dispatched


def on_gpu(model: Model) -> Model:
    """Return a copy of a model on the GPU."""
    return move(copy.deepcopy(model))


def move(model: Model) -> Model:
    """Bring a model to the GPU; `Module.to` would part weights that are tied."""
    moved: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and not isinstance(weight, OnGPU):
                far = torch.nn.Parameter(weight.detach().to(DEVICE), weight.requires_grad)
                module._parameters[name] = moved.setdefault(id(weight), far)
        for name, values in module._buffers.items():
            module._buffers[name] = None if values is None else values.to(DEVICE)
    return model


def _wait(what: str) -> None:
    if _state.capturing is not None:
        _state.capturing.broken = True
        raise RuntimeError(f"{what} waits for the GPU while a graph is captured")
    _state.asked.waits += 1


def _near(x: Any) -> Any:
    if isinstance(x, OnGPU):
        return x.near
    # A number on the CPU travels with the launch, as it is then.
    return x.clone() if _state.capturing is not None and isinstance(x, torch.Tensor) else x


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with _Dispatch():
            found = func.decompose(*args, **kwargs)
        if found is not NotImplemented:
            return found
    tensors = [x for x in pytree.arg_tree_leaves(*args, **kwargs) if isinstance(x, torch.Tensor)]
    far = [x for x in tensors if isinstance(x, OnGPU)]
    near = [x for x in tensors if not isinstance(x, OnGPU)]
    wanted = kwargs.get("device")
    makes_far = bool(far) if wanted is None else torch.device(wanted).type in ("cuda", "meta")
    name = func.overloadpacket
    if name is aten.copy_:
        makes_far = isinstance(args[0], OnGPU)
    if not far and not makes_far:
        return func(*args, **kwargs)
    crosses = name in _MOVES or name is aten.copy_
    between = crosses and (bool(near) or not makes_far)
    # A GPU reads pinned memory while Python goes on; a replayed graph would read it again.
    pinned = bool(near) and all(x in _state.pinned for x in near)
    later = pinned and kwargs.get("non_blocking") and _state.capturing is None
    if _waits(name, args, between and not later):
        _wait(func.name())
    if crosses and makes_far:
        _state.asked.brought += sum(x.nbytes for x in near)
    if far and not crosses:
        _check_devices(func, name, args, near)
    plain = {key: value for key, value in kwargs.items() if key != "non_blocking"}
    if wanted is not None:
        plain["device"] = torch.device("cpu")
    compute = _ELSEWHERE.get(func, func)
    call = compute, pytree.tree_map(_near, args), pytree.tree_map(_near, plain)
    if _state.capturing is not None:
        found = _state.capturing.record(*call)
    else:
        found = compute(*call[1], **call[2])
    if not (func.is_view or name in _ALLOCATES or name is aten._local_scalar_dense):
        _state.asked.launches += _state.capturing is None
    if not makes_far:
        return found
    wrapped = pytree.tree_map_only(torch.Tensor, OnGPU, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if far else wrapped


def _waits(name: Any, args: tuple[Any, ...], between_devices: bool) -> bool:
    masks = name in _INDEXED and any(
        x.dtype is torch.bool for x in args[1] if isinstance(x, torch.Tensor)
    )
    return between_devices or masks or name in _SIZED_BY_VALUES or name is aten._local_scalar_dense


def _check_devices(func: Any, name: Any, args: tuple[Any, ...], near: list[torch.Tensor]) -> None:
    if name in _INDEXED:
        if not isinstance(args[0], OnGPU):
            raise RuntimeError(f"{func.name()}: a tensor on the CPU is indexed by one on the GPU")
        if any(x.dim() for x in near):
            _wait(func.name())
        return
    if any(x.dim() for x in near):
        shapes = ", ".join(str(tuple(x.shape)) for x in near)
        raise RuntimeError(f"{func.name()}: tensors of {shapes} are on the CPU, others on the GPU")


def _pin(x: torch.Tensor) -> torch.Tensor:
    pinned = x.clone()
    _state.pinned[pinned] = True
    return pinned


_scaled_dot_product_attention = torch.nn.functional.scaled_dot_product_attention


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *more: Any,
    **options: Any,
) -> torch.Tensor:
    """Attend by one launch, as a GPU's kernels do; torch takes its operations apart for others."""
    tensors = [x for x in (query, key, value, attn_mask) if x is not None]
    far = [isinstance(x, OnGPU) for x in tensors]
    if not any(far):
        return _scaled_dot_product_attention(query, key, value, attn_mask, *more, **options)
    if not all(far):
        raise RuntimeError("attention: some of queries, keys, values and mask are on the CPU")
    if query.shape[1] != key.shape[1] and (attn_mask is not None or query.dtype.itemsize > 2):
        _state.asked.stored += 1
    call = functools.partial(_scaled_dot_product_attention, *more, **options)
    made: torch.Tensor = _Attention.apply(query, key, value, attn_mask, call)
    return made


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: OnGPU, key: OnGPU, value: OnGPU, mask: OnGPU | None, call: Any
    ) -> OnGPU:
        near = [x.near.detach() for x in (query, key, value)]
        if mask is not None:
            call = functools.partial(call, attn_mask=mask.near)
        if _state.capturing is not None:
            return OnGPU(_state.capturing.record(call, near, {}))
        _state.asked.launches += 1
        with torch.enable_grad():
            ctx.near = [x.requires_grad_() for x in near]
            ctx.made = call(*ctx.near)
        return OnGPU(ctx.made.detach())

    @staticmethod
    def backward(ctx: Any, *gradients: OnGPU) -> tuple[OnGPU | None, ...]:
        _state.asked.launches += 1
        found = torch.autograd.grad(ctx.made, ctx.near, gradients[0].near)
        return (*map(OnGPU, found), None, None)


@dataclass
class _Call:
    func: Any
    args: Any
    kwargs: Any
    results: list[torch.Tensor | None]
    """What it made, to be filled again; None for views and for what it changed in place."""


class Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.broken = False
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._made: set[int] = set()

    def replay(self) -> None:
        """Run what was captured, on the same memory."""
        _state.asked.launches += 1
        _state.asked.replays += 1
        for call in self.calls:
            found = call.func(*call.args, **call.kwargs)
            for result, new in zip(call.results, _tensors(found), strict=True):
                if result is not None:
                    result.copy_(new)

    def record(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Keep a call, with memory as it was before wherever it writes."""
        for written in _written(func, args, kwargs):
            if _place(written) not in self._made:
                whole = written.new_empty(0).set_(written.untyped_storage())
                self._before.setdefault(_place(written), (whole, whole.clone()))
        found = func(*args, **kwargs)
        known = {_place(x) for x in _tensors((args, kwargs))}
        results = [None if _place(x) in known else x for x in _tensors(found)]
        self._made |= {_place(x) for x in results if x is not None}
        self.calls.append(_Call(func, args, kwargs, results))
        return found

    def end(self) -> None:
        """Undo what capturing wrote: nothing has run so far."""
        for whole, before in self._before.values():
            whole.copy_(before)
        for call in self.calls:
            for result in call.results:
                if result is not None:
                    result.fill_(float("nan") if result.is_floating_point() else 0)


def _place(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in pytree.tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    written: list[torch.Tensor] = []
    if not hasattr(func, "_schema"):
        return written
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = kwargs[argument.name] if argument.name in kwargs else args[place]
            written += _tensors(value)
    return written


@contextlib.contextmanager
def _graph(graph: Graph, *_: Any, **__: Any) -> Iterator[None]:
    _state.asked.graphs += 1
    _state.capturing = graph
    try:
        yield
    finally:
        _state.capturing = None
        graph.end()
        if graph.broken:
            raise RuntimeError("the capture ends broken: something in it was not permitted")


_INSTEAD: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "CUDAGraph": Graph,
    "graph": _graph,
    "graph_pool_handle": lambda: None,
    "is_current_stream_capturing": lambda: _state.capturing is not None,
    "device": lambda _: contextlib.nullcontext(),
    "Stream": lambda _: None,
    "stream": lambda _: contextlib.nullcontext(),
    "current_stream": lambda _: None,
    # Random numbers are drawn by the CPU's generator, whose state is kept beside.
    "get_rng_state": lambda *_: torch.get_rng_state(),
    "set_rng_state": lambda *_: None,
    "manual_seed_all": lambda *_: None,
}


@contextlib.contextmanager
def attached() -> Iterator[Asked]:
    """Pretend that tensors can be on `DEVICE` (always with its index); yield what it is asked."""
    _state.asked = Asked()
    with contextlib.ExitStack() as stack:
        for name, instead in _INSTEAD.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, instead))
        attention = "scaled_dot_product_attention"
        stack.enter_context(mock.patch.object(torch.nn.functional, attention, _attention))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", _pin))
        # Lists become tensors on the CPU and are moved then.
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        stack.enter_context(_Dispatch())
        # Streams of a GPU that is not there are not one's that is, and the other way round.
        _graphs._stream.cache_clear()
        stack.callback(_graphs._stream.cache_clear)
        yield _state.asked
