"""GPUs that are not there: tensors that say ``cuda:N``, with their numbers (or only their sizes) kept on the CPU.

Two uses, one class.

* ``FakeGpus(count)``: values are real, kept in CPU tensors, so that control flow, results and files can be compared
  with a run on the CPU. Every operation checks the devices of what it is given as CUDA would: tensors of two devices
  raise ``DeviceMismatch`` (a 0-d CPU tensor may meet CUDA ones in pointwise operations; ``copy_`` and ``to`` may
  cross). ``numpy()`` and the like raise as they do on a CUDA tensor. Whatever asks for ``device.type`` sees ``cuda``.
* ``FakeGpus(count, values=False)``: the inner tensors are on ``meta``; nothing is computed, so that a 70B model fits
  into a laptop. What the program asks of the values (``bool``, ``float``, ``int``, ``nonzero``) is answered by
  ``Answers``. For peak memory.

Both count live bytes per device (storages whose tensors are alive; with ``limited`` more than ``memory`` raises
``torch.OutOfMemoryError``), transfers between host and devices, and synchronisations (values that the host asked for,
by the line of the program that asked). What a real kernel allocates inside (sort's workspace, cuBLAS') is not
counted, so that the peaks are lower bounds.

    with FakeGpus(2) as gpus:
        model.to("cuda:0")
        ...
    gpus.peak["cuda:0"], gpus.transfers, gpus.syncs

It needs no CUDA build and no GPU. To PyTorch's C++ the tensors lie on the CPU, so that its autograd engine, which has
no queue for devices that are not there, runs them; only Python sees ``cuda``. So the CPU's kernels run, and results
equal the CPU's bit for bit wherever the program itself does not branch on the device.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

aten = torch.ops.aten


class DeviceMismatch(RuntimeError):
    """What CUDA would refuse with "Expected all tensors to be on the same device"."""


class _Token:
    """Dies with its tensor. (A weak reference to the tensor would keep ``torch.utils.swap_tensors`` from working.)

    It keeps the storage, whose address is not used anew before.
    """

    def __init__(self, state: FakeGpus, key: int, storage: Any) -> None:
        self.state, self.key, self.storage = state, key, storage

    def __del__(self) -> None:
        self.state._died(self.key)


@dataclass
class Answers:
    """What the values are taken for where there are none."""

    boolean: bool = True
    integer: int = 1
    real: float = 0.5


# May take tensors of several devices.
_CROSSING = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default, aten.set_.source_Tensor}
# CUDA tensors may be indexed by CPU tensors.
_INDEXED = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
# Not tagged as pointwise, yet they take 0-d CPU tensors.
_SCALAR_TOO = {"where", "fill_", "fill", "masked_fill", "masked_fill_", "addcmul", "addcmul_", "lerp", "clamp"}

_active: FakeGpus | None = None


@dataclass(frozen=True)
class _Signature:
    """What is asked of an operation's schema. The schema makes new objects each time, which takes longer than the rest.

    Attributes:
        arguments: name, whether it is written, and whether it is only given by its name.
        views: of each result, whether it shares the storage of an argument.
        written: the same, of an argument that is written.
        scalars: whether the operation takes a 0-d CPU tensor among CUDA ones.
        allocates: whether it makes tensors without writing into them.
    """

    arguments: tuple[tuple[str, bool, bool], ...]
    views: tuple[bool, ...]
    written: tuple[bool, ...]
    scalars: bool
    allocates: bool

    @property
    def writes(self) -> bool:
        """Whether it changes an argument."""
        return any(written for _, written, _ in self.arguments)


@cache
def _signature(func: Any) -> _Signature:
    def written(each: Any) -> bool:
        return each.alias_info is not None and each.alias_info.is_write

    name, schema = func.__name__.split(".")[0], func._schema
    return _Signature(
        tuple((each.name, written(each), each.kwarg_only) for each in schema.arguments),
        tuple(each.alias_info is not None for each in schema.returns),
        tuple(written(each) for each in schema.returns),
        torch.Tag.pointwise in func.tags or name in _SCALAR_TOO or "foreach" in name,
        name in ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    )


def _state() -> FakeGpus:
    if _active is None:
        raise RuntimeError("no FakeGpus is active")
    return _active


def _real_device(device: Any) -> torch.device | None:
    """With an index, where it is a GPU."""
    if device is None:
        return None
    if isinstance(device, int):
        return torch.device("cuda", device)
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", _state().current)
    return device


class DeviceTensor(torch.Tensor):
    """Says that it is on a GPU; its numbers are in ``inner``."""

    inner: torch.Tensor
    token: _Token
    on: torch.device

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device | None = None, requires_grad: bool = False) -> Any:
        if device is None:  # accelerate makes a parameter by the class of the one before
            return torch.nn.Parameter(inner, requires_grad=requires_grad)
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device("cpu"),
            requires_grad=False,
        )
        made.inner = inner
        made.on = device
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.on

    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        return self.on.index

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    def _not_here(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            f"can't convert {self.on} device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    numpy = __array__ = _not_here  # type: ignore[assignment]

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr() if _state().values else self.inner.untyped_storage()._cdata

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()

    def to(self, *args: Any, **kwargs: Any) -> Any:
        return _to(self, args, kwargs)

    def cpu(self, *_: Any, **__: Any) -> Any:
        return _to(self, ("cpu",), {})

    def cuda(self, device: Any = None, **_: Any) -> Any:
        return _to(self, (_real_device("cuda" if device is None else device),), {})

    def pin_memory(self, *_: Any) -> Any:
        raise RuntimeError(f"cannot pin '{self.on}' only dense CPU tensors can be pinned")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        made: Any = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, requires_grad=self.requires_grad)
        memo[id(self)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Move(torch.autograd.Function):
    """A copy on another device, whose gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        ctx.device, ctx.dtype = tensor.device, tensor.dtype
        return _copied(tensor, device, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _copied(gradient, ctx.device, ctx.dtype), None, None


# Only what Python asks for moves a tensor. PyTorch's C++, for which all are on the CPU, names that device when it means
# the tensor's own, in the backward pass of a change of dtype for one.
_moving = threading.local()


def _copied(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    _moving.on = True
    try:
        return aten._to_copy.default(tensor, dtype=dtype, device=device)
    finally:
        _moving.on = False


def _to(tensor: torch.Tensor, args: Any, kwargs: dict[str, Any]) -> Any:
    """``Tensor.to``, with our devices."""
    if args and isinstance(args[0], torch.Tensor):
        device, dtype = args[0].device, args[0].dtype
        copy = kwargs.get("copy", False)
    else:
        kwargs = dict(kwargs)
        copy = kwargs.pop("copy", False)
        args = tuple(_real_device(each) if _is_device(each) else each for each in args)
        if "device" in kwargs:
            kwargs["device"] = _real_device(kwargs["device"])
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    device = _real_device(device) or tensor.device
    dtype = dtype or tensor.dtype
    if device == tensor.device and dtype == tensor.dtype and not copy:
        return tensor
    return _Move.apply(tensor, device, dtype)


def _devices(func: Any, flat: list[Any]) -> torch.device | None:
    """The device that an operation runs on; raises where CUDA would."""
    tensors = [each for each in flat if isinstance(each, torch.Tensor)]
    gpu = [each for each in tensors if isinstance(each, DeviceTensor)]
    if not gpu:
        return None
    device = gpu[0].device
    if func in _CROSSING:
        return tensors[0].device
    if func in _INDEXED:
        device = tensors[0].device
    scalars = _signature(func).scalars
    for each in tensors:
        on_host = each.device.type == "cpu"
        if each.device == device or (on_host and each.ndim == 0 and scalars):
            continue
        if on_host and func in _INDEXED and each is not tensors[0]:
            continue
        found = ", ".join(f"{tuple(t.shape)} on {t.device}" for t in tensors)
        raise DeviceMismatch(f"{func}: expected all tensors to be on the same device, found {found}")
    return device


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if torch.is_inference_mode_enabled():
        # Of an inference tensor PyTorch makes no view of a class of its own.
        with torch.inference_mode(False), torch.no_grad():
            return _run(func, args, kwargs)
    state = _state()
    wished = _real_device(kwargs.get("device"))
    flat, spec = tree_flatten((args, kwargs))
    device = _devices(func, flat)
    on_gpu = device is not None and device.type == "cuda"
    if on_gpu and wished is not None and wished.type == "cpu" and not getattr(_moving, "on", False):
        wished = device

    # In inference mode, in which PyTorch does not differentiate, the others are not decomposed into the first.
    if func in (aten._local_scalar_dense.default, aten.item.default, aten.is_nonzero.default) and on_gpu:
        state.synchronised()
        return flat[0].inner.item() if state.values else state.answer(flat[0])
    if func is aten.equal.default and on_gpu:
        state.synchronised()
        if not state.values:
            return state.answers.boolean
    if func is aten.nonzero.default and on_gpu:
        state.synchronised()
        if not state.values:
            return _wrapped(torch.empty(0, flat[0].ndim, dtype=torch.int64, device="meta"), device)
    if func is aten.histc.default and on_gpu and not flat[0].is_floating_point():
        # CUDA counts integers, the CPU does not.
        return _run(
            aten._to_copy.default, (_run(func, (args[0].float(), *args[1:]), kwargs),), {"dtype": args[0].dtype}
        )
    if func is aten.bincount.default and on_gpu:
        state.synchronised()
        if not state.values:
            length = kwargs.get("minlength", args[2] if len(args) > 2 else 1)
            return _wrapped(torch.empty(length, dtype=torch.int64, device="meta"), device)
    if func is aten._to_copy.default or func is aten.copy_.default:
        _count_transfer(func, args, wished)

    target = wished or device
    plain_args, plain_kwargs = tree_unflatten(
        [each.inner if isinstance(each, DeviceTensor) else each for each in flat], spec
    )
    if wished is not None:
        # What leaves the GPU without values is made of zeros; everything else is where our inner tensors are.
        plain_kwargs["device"] = state.inner_device if wished.type == "cuda" else wished
    if "pin_memory" in plain_kwargs:
        plain_kwargs["pin_memory"] = None
    if not state.values:
        if target is not None and target.type == "cuda":
            # Operands on the CPU (0-d scalars, sources of copies, indices) become sizes too.
            plain_args, plain_kwargs = tree_map(_size_only, (plain_args, plain_kwargs))
        elif func is aten._to_copy.default and isinstance(flat[0], DeviceTensor):
            return torch.zeros(flat[0].shape, dtype=kwargs.get("dtype") or flat[0].dtype)
        elif func is aten.copy_.default and any(isinstance(each, DeviceTensor) for each in flat):
            return args[0]
    result = func(*plain_args, **plain_kwargs)
    if target is None or target.type != "cuda":
        return args[0] if func is aten.copy_.default else result
    rewrapped = _rewrapped(func, result, args, kwargs, target)
    if state.values:
        _count_traffic(func, args, kwargs, rewrapped)
    return rewrapped


def _count_traffic(func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
    """Count what an operation reads and writes of tensors that are larger than the cache."""
    signature, state = _signature(func), _state()
    if signature.allocates or (not signature.writes and any(signature.views)):
        return
    for index, (name, written, by_name) in enumerate(signature.arguments):
        given = args[index] if index < len(args) else kwargs.get(name)
        only_written = written and (by_name or func is aten.copy_.default)
        for each in tree_flatten(given)[0]:
            state.touched("read", each, not only_written)
            state.touched("written", each, written)
    if not signature.writes:
        for each in tree_flatten(result)[0]:
            state.touched("written", each, True)


def _size_only(each: Any) -> Any:
    return each.to("meta") if isinstance(each, torch.Tensor) and each.device.type == "cpu" else each


def _wrapped(inner: torch.Tensor, device: torch.device) -> DeviceTensor:
    made: DeviceTensor = DeviceTensor(inner, device)
    _state().born(made)
    return made


def _rewrapped(func: Any, result: Any, args: Any, kwargs: dict[str, Any], device: torch.device) -> Any:
    """The result on its device; what was changed in place is the argument itself."""
    signature = _signature(func)
    written = [
        args[index] if index < len(args) else kwargs.get(name)
        for index, (name, changed, _) in enumerate(signature.arguments)
        if changed
    ]
    if written and not signature.written:
        return None
    if written and any(signature.written):
        for given in written:
            if isinstance(given, DeviceTensor) and given.shape != given.inner.shape:
                raise NotImplementedError(f"{func} resizes in place")
        results = len(signature.written)
        return written[0] if results == 1 else tuple(written[:results])
    return tree_map(
        lambda each: (
            _wrapped(each, device) if isinstance(each, torch.Tensor) and not isinstance(each, DeviceTensor) else each
        ),
        result,
    )


def _count_transfer(func: Any, args: Any, wished: torch.device | None) -> None:
    source = args[1] if func is aten.copy_.default else args[0]
    to = args[0].device if func is aten.copy_.default else wished or source.device
    at = source.device
    if at != to:
        kind = "h2d" if at.type == "cpu" else "d2h" if to.type == "cpu" else "d2d"
        _state().moved(kind, source.numel() * source.element_size())


class _Operations(TorchDispatchMode):
    """Catches what makes tensors on a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Catches what moves CPU tensors, and gives every ``cuda`` an index."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device and args and isinstance(args[0], int):
            return torch.device("cuda", args[0])
        if func is torch.Tensor.to:
            return _to(args[0], args[1:], kwargs) if _names_gpu(args, kwargs) else func(*args, **kwargs)
        if func is torch.Tensor.cuda:
            return DeviceTensor.cuda(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor) and _names_gpu((), kwargs):
            device = kwargs.pop("device")
            return _to(func(*args, **kwargs), (device,), {})
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _real_device(kwargs["device"])}
        return func(*args, **kwargs)


def _names_gpu(args: Any, kwargs: dict[str, Any]) -> bool:
    return any(
        isinstance(each, DeviceTensor) or (_is_device(each) and _real_device(each).type == "cuda")
        for each in (*args, *kwargs.values())
    )


def _is_device(each: Any) -> bool:
    """Whether an argument of ``Tensor.to`` names a device; a plain number is a GPU's."""
    return isinstance(each, str | torch.device) or type(each) is int


@dataclass
class FakeGpus:
    """So many devices ``cuda:N``; a context, one at a time.

    Attributes:
        count: how many.
        values: whether tensors hold numbers.
        memory: bytes that each has.
        limited: whether more than that raises.
        live: bytes of the tensors that are alive, by device; ``peak``: the most there were.
        transfers: count and bytes, by direction (h2d, d2h, d2d).
        cache: bytes of a tensor that stays in the cache; its storage counts.
        traffic: bytes of larger tensors that operations read and wrote, where there are values.
        syncs: how often the host asked for a value, by the line that asked.
        sync_seconds: how long it waits for one, which other threads use.
    """

    count: int = 1
    values: bool = True
    memory: int = 80 * 2**30
    limited: bool = False
    answers: Answers = field(default_factory=Answers)
    live: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    transfers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    cache: int = 0
    traffic: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)
    current: int = 0
    sync_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._storages: Counter[int] = Counter()
        self._where: dict[int, tuple[str, int]] = {}
        self._stack = contextlib.ExitStack()

    @property
    def inner_device(self) -> torch.device:
        """Where the inner tensors are."""
        return torch.device("cpu" if self.values else "meta")

    def born(self, tensor: DeviceTensor) -> None:
        storage = tensor.inner.untyped_storage()
        key = storage._cdata
        device = str(tensor.device)
        with self._lock:
            if key not in self._where:
                size = storage.nbytes()
                if self.limited and self.live[device] + size > self.memory:
                    raise torch.OutOfMemoryError(
                        f"CUDA out of memory. Tried to allocate {size / 2**30:.2f} GiB. GPU {tensor.device.index} has "
                        f"a total capacity of {self.memory / 2**30:.2f} GiB (fake)."
                    )
                self._where[key] = (device, size)
                self.live[device] += size
                self.peak[device] = max(self.peak[device], self.live[device])
            self._storages[key] += 1
        tensor.token = _Token(self, key, storage)

    def _died(self, key: int) -> None:
        with self._lock:
            self._storages[key] -= 1
            if self._storages[key] == 0:
                device, size = self._where.pop(key)
                self.live[device] -= size
                del self._storages[key]

    def moved(self, kind: str, size: int) -> None:
        with self._lock:
            self.transfers[kind]["count"] += 1
            self.transfers[kind]["bytes"] += size

    def touched(self, how: str, tensor: Any, really: bool) -> None:
        if really and isinstance(tensor, DeviceTensor) and tensor.untyped_storage().nbytes() > self.cache:
            with self._lock:
                self.traffic[how] += tensor.numel() * tensor.element_size()

    def synchronised(self) -> None:
        if self.sync_seconds:
            time.sleep(self.sync_seconds)
        where = "?"
        for frame, line in traceback.walk_stack(None):
            name = frame.f_code.co_filename
            if "/optishear/" in name or "/tasks/" in name:
                where = f"{name.rsplit('/optishear/', 1)[-1]}:{line}"
                break
            if where == "?" and ("/transformers/" in name or "/accelerate/" in name):
                where = f"{name.rsplit('/', 2)[-2]}/{name.rsplit('/', 1)[-1]}:{line}"
                break
        with self._lock:
            self.syncs[where] += 1

    def answer(self, tensor: torch.Tensor) -> Any:
        if tensor.dtype == torch.bool:
            return self.answers.boolean
        if tensor.dtype == torch.int32:
            return 0  # the code of a factorisation that did not fail
        return self.answers.real if tensor.dtype.is_floating_point else self.answers.integer

    def reset(self) -> None:
        """Begin to count anew."""
        self.peak = Counter(self.live)
        self.transfers = defaultdict(Counter)
        self.syncs = Counter()
        self.traffic = Counter()

    def __enter__(self) -> FakeGpus:
        global _active
        if _active is not None:
            raise RuntimeError("one FakeGpus at a time")
        _active = self
        patched = {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: self.count,
            "current_device": lambda: self.current,
            "is_initialized": lambda: True,
            "get_device_name": lambda device=None: "Fake GPU",
            "get_device_capability": lambda device=None: (9, 0),
            "mem_get_info": lambda device=None: (self.memory - self.live[self._name(device)], self.memory),
            "memory_allocated": lambda device=None: self.live[self._name(device)],
            "memory_reserved": lambda device=None: self.live[self._name(device)],
            "max_memory_allocated": lambda device=None: self.peak[self._name(device)],
            "reset_peak_memory_stats": lambda device=None: None,
            "empty_cache": lambda: None,
            "synchronize": lambda device=None: None,
            "set_device": lambda device: None,
            "is_bf16_supported": lambda *_, **__: True,
            "Stream": _Stream,
            "stream": lambda stream: contextlib.nullcontext(),
            "current_stream": lambda device=None: _Stream(device),
        }
        for name, value in patched.items():
            self._stack.enter_context(mock.patch.object(torch.cuda, name, value))
        # Parameters keep their identity, and ties, when a module is moved.
        swapped = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        self._stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        self._stack.enter_context(_Operations())
        self._stack.enter_context(_Functions())
        return self

    def __exit__(self, *error: Any) -> None:
        global _active
        self._stack.close()
        _active = None

    def _name(self, device: Any) -> str:
        return str(_real_device("cuda" if device is None else device))


class _Stream:
    """Work is done at once, so that there is nothing to wait for."""

    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        pass

    def record_event(self) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass


def enter_thread() -> None:
    """For a thread's start (``ThreadPoolExecutor(initializer=enter_thread)``): modes are seen by one thread alone."""
    _Operations().__enter__()
    _Functions().__enter__()


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """Masks made in the calling thread: a mode is seen by the thread alone that entered it."""
    from optishear.searching import masked_weights

    class Inline:
        def map(self, work: Any, *each: Any) -> Any:
            return map(work, *each)

    with mock.patch.object(masked_weights, "_threads", Inline):
        yield
