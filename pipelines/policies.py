"""Loading policies, and what is asked of one before any compute is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from iterative_grpo import plugins, timing, tokenizing
from iterative_grpo.context import positions
from iterative_grpo.protocols import Engine, Samplings
from iterative_grpo.types import Completion, Prompt
from pipelines import building, engine_options, keywords
from pipelines.artifacts import fingerprint_of, sha256
from pipelines.config import Config, PolicySettings

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

CACHE_SHARE = 0.3
"""Of the memory that a GPU has beside the weights, for keys and values where nothing is trained: as
much may be remembered of prompts, and a reward model may be there."""


class PolicyError(ValueError):
    """A model or tokenizer that this program cannot train, with what to do about it."""


def load(path: str | Path, settings: PolicySettings, at: str | None = None) -> tuple[Any, Any]:
    """Return (model, tokenizer) from a checkpoint or hub name, on the device `at`, or `device()`.

    Raises PolicyError if there is no such model, weights of it are missing or no numbers, or its
    tokenizer lacks EOS or pad tokens.
    """
    with timing.part(timing.INPUT_OUTPUT):
        return _load(path, settings, at or device())


def _load(path: str | Path, settings: PolicySettings, at: str) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    trust = settings.trust_remote_code
    auto: Any = AutoModelForCausalLM
    try:
        tokenizer = tokenizing.load(path, padding_side="left", trust_remote_code=trust)
        model, info = auto.from_pretrained(
            str(path),
            dtype=settings.dtype,
            trust_remote_code=trust,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, with their names
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise unloadable(path, error) from None
    if getattr(model, "_hf_peft_config_loaded", False):
        raise adapter(path, model.config.name_or_path)
    check_weights(model.config, info, str(path))
    check_tokenizer(tokenizer, str(path), settings)
    check_vocabulary(model.get_input_embeddings().weight.shape[0], tokenizer, str(path))
    model.to(at).eval()
    check_finite(model, str(path))
    return model, tokenizer


def unloadable(path: str | Path, error: Exception) -> PolicyError:
    """Return the error for a model that transformers cannot load."""
    if (Path(path) / "adapter_config.json").is_file():
        return adapter(path, "another model")
    return PolicyError(
        f"policy.model {path} cannot be loaded: {reason(str(path), error)}. Expected a folder with "
        "a transformers checkpoint, or the name of a causal language model on the hub"
    )


def adapter(path: str | Path, base: str) -> PolicyError:
    """Return the error for an adapter where a whole model is expected."""
    return PolicyError(
        f"policy.model {path} is an adapter of {base}; merge it (peft's merge_and_unload) and save "
        "the whole model, or name that model and train a new adapter (policy.lora)"
    )


def save(model: Any, tokenizer: Any, path: Path) -> None:
    """Write a checkpoint that `load` reads."""
    with timing.part(timing.INPUT_OUTPUT):
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)


@dataclass(frozen=True, slots=True)
class Sampler:
    """A policy that can be sampled. `model` is None where the engine holds a copy of its own."""

    engine: Engine
    tokenizer: Any
    context: int | None
    model: Any | None


def check_engine(engine: str, options: Mapping[str, Any] = NO_OPTIONS) -> None:
    """Raise PolicyError for an engine that lacks something on this machine.

    Raises UnknownField or UnfitValue for options that it does not take.
    """
    module = plugins.find("iterative_grpo.engines", engine, "engine")
    missing = module.lacking() if hasattr(module, "lacking") else None
    if missing is not None:
        raise PolicyError(f"engine {engine}: {missing}")
    engine_options.arguments(engine, options)


def to_sample(config: Config) -> PolicySettings:
    """Return the policy's settings with the precision that it is sampled in.

    Where the policy phase computes in bfloat16, so do samples, labels and evaluations: they are to
    be of the policy that is trained. Only training needs the weights in float32.
    """
    if not config.optimize.bf16:
        return config.policy
    return config.policy.model_copy(update={"dtype": "bfloat16"})


def precision(config: Config) -> dict[str, str]:
    """Return what of the precision a phase that samples depends on, for its settings."""
    return {"sampled_in": "bfloat16"} if config.optimize.bf16 else {}


def sampled_in(config: Config, path: str | Path) -> AbstractContextManager[Sampler]:
    """Return `sampled` for a checkpoint of a run, in the run's engine and precision."""
    return sampled(path, to_sample(config), config.engine, config.engine_options)


@contextmanager
def sampled(
    path: str | Path,
    settings: PolicySettings,
    engine: str,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> Iterator[Sampler]:
    """Yield a checkpoint's policy in an engine by name; what the engine took is given back behind.

    An engine that reads checkpoints itself gets the path, and starts when it is asked for the first
    time: starting takes a while, and prompts may be refused before, or all be answered already.

    Raises PolicyError as `load` does, also at the first question of an engine that does not start.
    """
    module = plugins.find("iterative_grpo.engines", engine, "engine")
    more = engine_options.arguments(engine, options)
    if not building.reads_checkpoints(engine):
        model, tokenizer = load(path, settings)
        if model.device.type == "cuda" and "cache_gib" in engine_options.taken(module.load):
            more = {"cache_gib": cache_gib(model)} | more
        yield Sampler(
            module.load(model, tokenizer, **more), tokenizer, positions(model.config), model
        )
        return
    from transformers import AutoConfig

    tokenizer = load_tokenizer(path, settings)
    trust = settings.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(str(path), trust_remote_code=trust)
    except (OSError, ValueError) as error:
        raise PolicyError(
            f"policy {path}: its configuration cannot be loaded: {reason(str(path), error)}"
        ) from None

    def start() -> Any:
        try:
            with timing.part(timing.INPUT_OUTPUT):
                return module.load(
                    path, tokenizer, dtype=settings.dtype, trust_remote_code=trust, **more
                )
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise PolicyError(f"policy {path} with engine {engine}: {error}") from None

    late = _Late(start)
    try:
        yield Sampler(late, tokenizer, positions(config), None)
    finally:
        late.close()


def cache_gib(model: Any) -> float:
    """Return the memory for keys and values on a model's GPU: of its size, not of what is free now.

    Batches would follow what else runs there, and with them the last bits of logits.
    """
    import torch

    total: int = torch.cuda.get_device_properties(model.device).total_memory
    left = total - sum(int(weight.nbytes) for weight in model.parameters())
    return max(1.0, CACHE_SHARE * left / 2**30)


class _Late:
    """An engine that starts when it is asked for the first time."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._started: Any = None

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        if self._started is None:
            self._started = self._start()
        groups: list[list[Completion]] = self._started.generate(prompts, sampling)
        return groups

    def close(self) -> None:
        if self._started is not None:
            self._started.close()


def live_loader(config: Config) -> Callable[[Any, Any], Engine]:
    """Return what makes a live policy's engine: `generate` for an engine of checkpoints.

    That one is left as it is: the options are those of the engine that the run names.
    """
    name, options = config.engine, config.engine_options
    if building.reads_checkpoints(name):
        name, options = "generate", NO_OPTIONS
    module = plugins.find("iterative_grpo.engines", name, "engine")
    return partial(module.load, **engine_options.arguments(name, options))


def reason(name: str, error: Exception, of: str = "optimize/policy") -> str:
    """Return why a model is not to be had; the hub's rules for names do not help with a path.

    `of` is where a run has such models: in which phase's folder, and in which folder of that.
    """
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        return "there is no such folder"
    if (Path(name) / "iterations").is_dir():
        return f"it is a run's folder; look in {name}/iterations/NN/{of}"
    own = Path(name) / Path(of).name
    if own.is_dir():
        return f"it is a phase's folder; look in {own}"
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        return "it has no config.json"
    return first_line(error).removeprefix(f"{name}: ")


def first_line(error: Exception) -> str:
    """Return what an error says first, without the advice below it."""
    return str(error).strip().partition("\n")[0].rstrip(". ")


def load_tokenizer(path: str | Path, settings: PolicySettings) -> Any:
    """Return a policy's tokenizer; PolicyError without one, or without its EOS and pad tokens."""
    try:
        tokenizer = tokenizing.load(
            path, padding_side="left", trust_remote_code=settings.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise PolicyError(
            f"policy {path}: its tokenizer cannot be loaded: {reason(str(path), error)}"
        ) from None
    check_tokenizer(tokenizer, str(path), settings)
    return tokenizer


def identity(path: str | Path) -> str:
    """Return what tells a checkpoint from others: of a folder, the sha256 over its files.

    Of a released model it is the commit in the hub's cache, or the name where none is known. Files
    are hashed once a process, while their sizes and times stay the same.
    """
    folder = Path(path)
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    stats = [(file, file.stat()) for file in files]
    return _identity(
        str(path), tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)
    )


@lru_cache(maxsize=8)
def _identity(name: str, files: tuple[tuple[Path, int, int], ...]) -> str:
    if Path(name).is_dir():
        with timing.part(timing.INPUT_OUTPUT):
            return fingerprint_of({file.name: sha256(file) for file, _, _ in files})
    from transformers.utils.hub import cached_file, extract_commit_hash

    config = cached_file(name, "config.json", _raise_exceptions_for_missing_entries=False)
    return extract_commit_hash(config, None) or name


def device() -> str:
    """Return where models run: an accelerator if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_weights(config: Any, info: Mapping[str, Any], name: str) -> None:
    """Refuse a checkpoint that transformers filled up at random, or that is another kind's."""
    made_for = getattr(config, "architectures", None) or []
    other = [kind for kind in made_for if kind.endswith("Classification")]
    if other:
        raise PolicyError(
            f"{name} is no policy, but a {other[0]}, as reward models are; give a checkpoint of a "
            "causal language model"
        )
    missing = sorted({*info["missing_keys"], *(str(key[0]) for key in info["mismatched_keys"])})
    if missing:
        raise PolicyError(
            f"{name}: {len(missing)} of the policy's weights are missing or of another shape "
            f"({', '.join(missing[:3])}), and would be random; save the whole model again, with "
            "the configuration that it was trained with"
        )


def check_finite(model: Any, name: str) -> None:
    """Refuse weights that are no numbers: nothing can be sampled from such a policy."""
    import torch

    # Of sharded weights, this process's own. A sum is finite where all are: NaN stays in it.
    sums: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for key, weight in model.named_parameters():
            own = weight.to_local() if hasattr(weight, "to_local") else weight
            if own.is_floating_point():
                sums[key] = own.sum(dtype=torch.float64)
        at = next(iter(sums.values())).device
        finite = torch.stack([each.to(at) for each in sums.values()]).isfinite().tolist()
    broken = [key for key, is_finite in zip(sums, finite, strict=True) if not is_finite]
    if broken:
        raise PolicyError(
            f"{name}: {len(broken)} weights are not finite numbers ({', '.join(broken[:3])}): this "
            "policy diverged. Train it with a lower optimize.learning_rate"
        )


def check_tokenizer(tokenizer: Any, name: str, settings: PolicySettings) -> None:
    """Refuse a tokenizer that cannot say where an output ends or what is padding."""
    if tokenizer.eos_token_id is None:
        raise PolicyError(
            f"the tokenizer of {name} has no EOS token: an output could never end. Set one with "
            "tokenizer.eos_token = ... and save the tokenizer beside the model"
        )
    if settings.pad_token is not None:
        set_pad_token(tokenizer, name, settings.pad_token)
        return
    pad = tokenizer.pad_token_id
    # Padding is masked by its place, so any special token serves. But TRL takes an output whose
    # last token is the pad for a finished one, which EOS says rightly and an unknown word does not.
    shared = pad is not None and pad == tokenizer.unk_token_id != tokenizer.eos_token_id
    if pad is None or shared:
        found = (
            f"pads with its unknown token {tokenizer.pad_token!r}" if shared else "has no pad token"
        )
        raise PolicyError(
            f"the tokenizer of {name} {found}; name one of its tokens with "
            "policy.pad_token (of a command: --pad-token; for base models often the EOS token "
            f"{tokenizer.eos_token!r} or a reserved one)"
        )


def set_pad_token(tokenizer: Any, name: str, pad: str) -> None:
    """Let a tokenizer pad with a token that the user chose; refuse one of texts, and no token."""
    # Texts would lose any other: what is padding is left out where token ids are read as text.
    special = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    if pad in special:
        tokenizer.pad_token = pad
        return
    # Of what is no token transformers makes the unknown one.
    known = tokenizer.convert_tokens_to_ids(pad) not in (None, tokenizer.unk_token_id)
    found = "is a word" if known else "is no token"
    raise PolicyError(
        f"policy.pad_token (of a command: --pad-token): {pad!r} {found} of this tokenizer, that of "
        f"{name}.{keywords.hint(pad, sorted(special))} Expected one of its special tokens, such as "
        f"EOS {tokenizer.eos_token!r}"
    )


def check_vocabulary(rows: int, tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer whose words, EOS or pad token a model of so many embeddings lacks.

    Other tokens may be added that a model never reads: Gemma's has one for images.
    """
    tokens = max(tokenizer.vocab_size, tokenizer.eos_token_id + 1, tokenizer.pad_token_id + 1)
    if tokens > rows:
        raise PolicyError(
            f"{name}: its tokenizer has tokens up to id {tokens - 1}, its model embeddings of "
            f"{rows}; give the tokenizer that the model was trained with, or save the model after "
            "model.resize_token_embeddings(len(tokenizer))"
        )
