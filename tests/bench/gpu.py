"""What a GPU gives training, against what it could give: `python -m tests.bench.gpu`.

The ceiling is a bfloat16 product of 8,192 x 8,192 matrices. Each variant trains the network on a world made in memory
(`tests.bench.growth`), epochs as `Trainer` runs them, batches being put together included: one epoch to warm up, one
that is timed, one under the profiler. `busy` is the time of its kernels over the timed epoch's seconds, `of ceiling`
is what torch counts of floating-point operations a second over the ceiling. Without a GPU it says so and ends with 1.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from core.learn.batches import epoch, fit_vocabulary
from core.learn.config import load_config
from core.learn.model import Recommender
from core.learn.splits import leave_last_out
from core.learn.train import Trainer
from dashboard.terminal import table
from tests.bench.growth import LENGTH, Watch, world

SIDE = 8192
VARIANTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "in float32": {"precision": "float32"},
    "compiled": {"compile": True},
    "16,384 tokens a batch": {"batch_tokens": 16_384},
    "the same, compiled": {"batch_tokens": 16_384, "compile": True},
    "width 512, 65,536 tokens": {"batch_tokens": 65_536, "network.dim": 512, "network.heads": 8},
    "the same, in float32": {
        "batch_tokens": 65_536,
        "network.dim": 512,
        "network.heads": 8,
        "precision": "float32",
    },
    "the same in bfloat16, compiled": {
        "batch_tokens": 65_536,
        "network.dim": 512,
        "network.heads": 8,
        "compile": True,
    },
}


def main() -> None:
    """Measure, print, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000, help=f"of {LENGTH} events each")
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--tokens", type=int, default=250_000, help="of an epoch")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU")
    told: dict[str, Any] = {
        "card": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "ceiling_tflops": ceiling(),
        "users": asked.users,
        "items": asked.items,
        "variants": {},
    }
    split = leave_last_out(world(asked.users, asked.items, seed=0), "next-any")
    for name in asked.variants:
        told["variants"][name] = measured(split, asked.items, asked.tokens, VARIANTS[name], told["ceiling_tflops"])
        print(name, told["variants"][name], file=sys.stderr, flush=True)
    show(told)
    if asked.out is not None:
        asked.out.write_text(json.dumps(told, indent=1))


def ceiling() -> float:
    """TFLOP/s of a large product in bfloat16, the best of ten."""
    a = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
    seen = []
    for _ in range(12):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        torch.mm(a, a)
        end.record()
        torch.cuda.synchronize()
        seen.append(begin.elapsed_time(end) / 1e3)
    return 2 * SIDE**3 / min(seen[2:]) / 1e12


def measured(split: Any, n_items: int, tokens: int, settings: dict[str, Any], ceiling_tflops: float) -> dict[str, Any]:
    """One variant: milliseconds a step, tokens/s, how busy the GPU is, operations against the ceiling, peak memory."""
    config = load_config(overrides=[("text.tune", "none"), ("epoch_tokens", tokens), *settings.items()])
    torch.manual_seed(0)
    network = Recommender(config.network, text=torch.zeros(n_items, 0), n_kinds=1).to("cuda")
    vocabulary = fit_vocabulary(split.train, ("view",), buckets=config.network.value_buckets)
    trainer, watch = Trainer(network, split, vocabulary, config, stage="frozen"), Watch()
    trainer._epoch(watch)  # kernels are chosen, and compiled where that is asked for
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, begun = trainer.stage.steps, time.perf_counter()
    trainer._epoch(watch)
    torch.cuda.synchronize()
    seconds, steps = time.perf_counter() - begun, trainer.stage.steps - before
    peak_gb = torch.cuda.max_memory_allocated() / 2**30
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        trainer._epoch(watch)
        torch.cuda.synchronize()
    kernels_s = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    begun = time.perf_counter()
    batches = list(
        epoch(
            split.lessons,
            vocabulary,
            length=config.network.max_length,
            batch_tokens=config.batch_tokens,
            epoch_tokens=tokens,
            n_items=n_items,
            rng=trainer.rng,
        )
    )
    batches_s = time.perf_counter() - begun
    plain = config.model_copy(update={"compile": False})  # a compiled pass hides its operations from the counter
    counted = Trainer(network, split, vocabulary, plain, stage="frozen")
    counted.gradients.encode = network.encode  # and so does a recorded one
    with FlopCounterMode(display=False) as counter:
        counted.gradients.of(batches[0], None, optimizers=counted._sequence_optimizers())
    a_step = counter.get_total_flops() * (sum(b.target.numel() for b in batches) / len(batches))
    tflops = a_step / batches[0].target.numel() * steps / seconds / 1e12
    return {
        "ms_a_step": 1e3 * seconds / steps,
        "tokens_per_s": sum(int((b.target >= 0).sum()) for b in batches) / seconds,
        "busy": kernels_s / seconds,
        "batches_s": batches_s / seconds,
        "tflops": tflops,
        "of_ceiling": tflops / ceiling_tflops,
        "peak_gb": peak_gb,
        "steps": steps,
    }


def show(told: dict[str, Any]) -> None:
    """The variants as a table."""
    rows = [
        (
            name,
            f"{one['ms_a_step']:.2f}",
            f"{one['tokens_per_s']:,.0f}",
            f"{one['busy']:.0%}",
            f"{one['batches_s']:.0%}",
            f"{one['of_ceiling']:.2%}",
            f"{one['peak_gb']:.2f}",
        )
        for name, one in told["variants"].items()
    ]
    heads = ("", "ms a step", "events/s", "busy", "batches", "of ceiling", "peak GB")
    title = f"{told['card']}, torch {told['torch']}, ceiling {told['ceiling_tflops']:.0f} TFLOP/s"
    Console().print(table(heads, rows, title=title))


if __name__ == "__main__":
    main()
