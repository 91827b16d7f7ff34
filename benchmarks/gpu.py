"""What a device can do: arithmetic, bandwidth, launches, number formats, memory, mixed
precision, checkpointing. Writes medians and quartiles, with the device's name and the
versions, into one JSON file; on a CPU at smaller sizes.

    python benchmarks/gpu.py book/record/speed     # writes <device>.json there

Seconds and bytes of one machine: nothing here is a test.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
FORMATS = {"float64": torch.float64, "float32": torch.float32, "tf32": torch.float32,
           "float16": torch.float16, "bfloat16": torch.bfloat16}


def wait():
    """Return when everything that was launched is done."""
    if GPU:
        torch.cuda.synchronize()


def timed(run, repeats=15, budget=1.5):
    """{"median", "low", "high"}: seconds of run(), quartiles of at most `repeats` runs
    within `budget` seconds, after three that do not count. Each waits for the device.
    """
    for _ in range(3):
        run()
    wait()
    found, end = [], time.perf_counter() + budget
    while len(found) < repeats and (len(found) < 3 or time.perf_counter() < end):
        start = time.perf_counter()
        run()
        wait()
        found.append(time.perf_counter() - start)
    low, median, high = np.percentile(found, [25, 50, 75])
    return {"median": median, "low": low, "high": high, "runs": len(found)}


def chosen(name):
    """Set float32 products to TF32 or not, and return the dtype of a format."""
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    return FORMATS[name]


def formats():
    """The formats that this device has: TF32 only on a GPU."""
    return [name for name in FORMATS if GPU or name not in ("tf32", "float16")]


def normal(*shape, dtype=torch.float32, seed=0):
    """Standard normal numbers, the same on every device."""
    x = np.random.default_rng(seed).normal(size=shape)
    return torch.tensor(x).to(DEVICE, dtype)


# --- arithmetic and bandwidth ---


def products():
    """Square matrix products of several sizes in each format: seconds, and 2 n³
    floating point operations over them.
    """
    rows = []
    for name in formats():
        dtype = chosen(name)
        for n in (64, 256, 1024, 4096, 8192) if GPU else (64, 256, 1024):
            a, b = torch.randn(2, n, n, device=DEVICE, dtype=dtype)
            found = timed(lambda: a @ b)
            rows.append({"format": name, "n": n, "seconds": found,
                         "flops": 2 * n**3 / found["median"]})
    chosen("float32")
    return rows


def product_errors():
    """Error of a product in each format, as a share of the largest entry of the product
    in float64; n numbers are summed, each standard normal.
    """
    rows = []
    for n in (64, 1024, 4096) if GPU else (64, 1024):
        a, b = (normal(n, n, dtype=torch.float64, seed=seed) for seed in (0, 1))
        right = a @ b
        for name in formats():
            dtype = chosen(name)
            error = ((a.to(dtype) @ b.to(dtype)).double() - right).abs().max()
            rows.append({"format": name, "n": n,
                         "error": float(error / right.abs().max())})
    chosen("float32")
    return rows


def bandwidth():
    """Bytes a second: read and written by a sum and a copy on the device; sent to it
    and back, from ordinary and from pinned memory.
    """
    n = 2**28 if GPU else 2**24
    x, y = torch.ones(n, device=DEVICE), torch.empty(n, device=DEVICE)
    rows = [{"what": "copy", "bytes": 8 * n, "seconds": timed(lambda: y.copy_(x))},
            {"what": "add", "bytes": 12 * n,
             "seconds": timed(lambda: torch.add(x, y, out=y))}]
    if GPU:
        for pinned in (False, True):
            for size in (2**12, 2**20, 2**28):
                host = torch.ones(size // 4, pin_memory=pinned)
                there = host.to(DEVICE)
                kind = "pinned" if pinned else "ordinary"
                rows.append({"what": f"to the device, {kind}", "bytes": size, "seconds":
                             timed(lambda: there.copy_(host, non_blocking=pinned))})
                rows.append({"what": f"from the device, {kind}", "bytes": size,
                             "seconds": timed(lambda: host.copy_(there))})
    for row in rows:
        row["bytes_per_second"] = row["bytes"] / row["seconds"]["median"]
    return rows


def roofline():
    """Operations of several arithmetic intensities (operations for each byte that must
    be moved) and the speed they reach, in float32 without TF32 and in bfloat16.
    """
    rows = []
    n = 2**26 if GPU else 2**22
    side, batches = (8192, (1, 8, 64, 512, 4096)) if GPU else (2048, (1, 8, 64, 512))
    for name in ("float32", "bfloat16"):
        dtype = chosen(name)
        size = dtype.itemsize
        x, y = torch.randn(n, device=DEVICE, dtype=dtype), torch.empty(
            n, device=DEVICE, dtype=dtype)
        found = timed(lambda: torch.add(x, y, out=y))
        rows.append({"what": "add", "format": name, "flop": n, "bytes": 3 * n * size,
                     "seconds": found})
        weight = torch.randn(side, side, device=DEVICE, dtype=dtype)
        for batch in batches:
            x = torch.randn(batch, side, device=DEVICE, dtype=dtype)
            found = timed(lambda: x @ weight)
            rows.append({"what": f"linear layer, batch {batch}", "format": name,
                         "flop": 2 * batch * side**2,
                         "bytes": size * (side**2 + 2 * batch * side),
                         "seconds": found})
    for row in rows:
        row["intensity"] = row["flop"] / row["bytes"]
        row["flops"] = row["flop"] / row["seconds"]["median"]
    return rows


def launches():
    """Seconds until a call returns, and until its result is there."""
    rows = []
    for n in (16, 1024, 8192) if GPU else (16, 1024):
        a = torch.randn(n, n, device=DEVICE)
        returned, done = [], []
        for _ in range(12):
            wait()
            start = time.perf_counter()
            a @ a
            returned.append(time.perf_counter() - start)
            wait()
            done.append(time.perf_counter() - start)
        rows.append({"n": n, "returned": float(np.median(returned[2:])),
                     "done": float(np.median(done[2:]))})
    return rows


def break_even():
    """The same product and the same training step on the CPU with all its threads and
    on the device, transfers not counted.
    """
    rows = []
    for n in (16, 64, 256, 1024, 4096):
        a = torch.randn(n, n)
        there = a.to(DEVICE)
        rows.append({"what": "product", "n": n, "cpu": timed(lambda: a @ a, budget=0.5),
                     "device": timed(lambda: there @ there, budget=0.5)})
    for width in (32, 256, 2048):
        row = {"what": "training step, 64-width-width-10, batch 100", "n": width}
        for key, device in (("cpu", "cpu"), ("device", DEVICE)):
            step = training_step(perceptron(64, width, 2), (100, 64), device)
            row[key] = timed(step, budget=0.5)
        rows.append(row)
    return rows


# --- networks ---


def perceptron(inputs, width, hidden):
    sizes = [inputs] + [width] * hidden + [10]
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional(channels=64):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
        nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * channels, 10))


def training_step(model, shape, device, *, dtype=None, scaler=None, optimizer=None,
                  micro=1):
    """A function that makes one step on random data; dtype: of autocast; micro: parts
    that the batch is split into, gradients accumulated.
    """
    model = model.to(device)
    x = torch.randn(*shape, device=device)
    y = torch.randint(10, (shape[0],), device=device)
    make = optimizer or (lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9))
    optimizer, loss = make(model.parameters()), nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        for xs, ys in zip(x.chunk(micro), y.chunk(micro)):
            with torch.autocast(device, dtype, enabled=dtype is not None):
                value = loss(model(xs), ys) / micro
            (scaler.scale(value) if scaler else value).backward()
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()

    return step


def precision():
    """A training step of a wide perceptron and of a small convolutional network:
    float32, TF32, and mixed precision with float16 (its loss scaled) and bfloat16.
    """
    rows = []
    networks = {"perceptron 1024-4096-4096-10": (lambda: perceptron(1024, 4096, 2),
                                                 (4096, 1024)),
                "convolutions 64, 64, 128 on 32×32": (convolutional, (512, 3, 32, 32))}
    if not GPU:
        networks = {"perceptron 256-512-512-10": (lambda: perceptron(256, 512, 2),
                                                  (256, 256))}
    for name, (make, shape) in networks.items():
        for how in ("float32", "tf32", "float16", "bfloat16") if GPU else ("float32",
                                                                           "bfloat16"):
            chosen(how if how == "tf32" else "float32")
            mixed = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(how)
            scaler = torch.amp.GradScaler() if how == "float16" else None
            step = training_step(make(), shape, DEVICE, dtype=mixed, scaler=scaler)
            row = {"network": name, "format": how, "batch": shape[0]}
            if GPU:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            row["seconds"] = timed(step)
            if GPU:
                row["peak_bytes"] = torch.cuda.max_memory_allocated()
            rows.append(row)
            del step
    chosen("float32")
    return rows


def underflow():
    """The share of a deep network's gradients that are 0 in float16 but not in float32,
    without and with a factor on the loss; and whether any overflows.
    """
    torch.manual_seed(0)
    model = perceptron(64, 256, 6).to(DEVICE)
    x, y = normal(2048, 64), torch.arange(2048, device=DEVICE) % 10
    loss, rows = nn.CrossEntropyLoss(), []

    def gradients(dtype, factor):
        with torch.autocast(DEVICE, dtype, enabled=dtype is not None):
            hidden, kept = x, []
            for layer in model:
                hidden = layer(hidden)
                if hidden.requires_grad:
                    hidden.retain_grad()
                    kept.append(hidden)
            (factor * loss(hidden, y)).backward()
        return [h.grad for h in kept]

    right = gradients(None, 1.0)
    for dtype in (torch.float16, torch.bfloat16):
        if not GPU and dtype == torch.float16:
            continue
        for power in (0, 8, 16, 24, 32):
            found = gradients(dtype, 2.0**power)
            lost = sum(int(((f == 0) & (r != 0)).sum()) for f, r in zip(found, right))
            rows.append({"format": str(dtype).split(".")[1], "log2_factor": power,
                         "lost": lost / sum(int((r != 0).sum()) for r in right),
                         "overflow": not all(torch.isfinite(f).all() for f in found)})
    return rows


# --- memory ---


def allocated():
    return torch.cuda.memory_allocated() if GPU else 0


def memory():
    """Bytes on the device at the stages of training, and at the peak, beside the parts
    that a formula predicts: parameters, gradients, states of the optimizer.
    """
    rows = []
    optimizers = {"SGD": lambda p: torch.optim.SGD(p, lr=1e-3),
                  "momentum": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
                  "Adam": lambda p: torch.optim.Adam(p, lr=1e-3)}
    networks = {"perceptron 1024-4096-4096-10": (lambda: perceptron(1024, 4096, 2),
                                                 (1024,), (64, 4096, 16384)),
                "convolutions 64, 64, 128 on 32×32": (convolutional, (3, 32, 32),
                                                      (64, 512, 2048))}
    for name, (make, shape, batches) in networks.items():
        for how, optimizer in optimizers.items():
            for batch in batches:
                torch.cuda.empty_cache()
                before = allocated()
                model = make().to(DEVICE)
                weights = sum(p.nbytes for p in model.parameters())
                with_model = allocated()
                x = torch.randn(batch, *shape, device=DEVICE)
                y = torch.randint(10, (batch,), device=DEVICE)
                with_batch = allocated()
                update = optimizer(model.parameters())
                for _ in range(2):
                    update.zero_grad(set_to_none=True)
                    torch.cuda.reset_peak_memory_stats()
                    loss = nn.CrossEntropyLoss()(model(x), y)
                    after_forward = allocated()
                    loss.backward()
                    after_backward = allocated()
                    update.step()
                    peak = torch.cuda.max_memory_allocated()
                state = sum(value.nbytes for entry in update.state.values()
                            for value in entry.values() if torch.is_tensor(value)
                            and value.device.type == DEVICE)
                rows.append({
                    "network": name, "optimizer": how, "batch": batch,
                    "parameters": weights, "state": state,
                    "model": with_model - before, "data": with_batch - with_model,
                    "after_forward": after_forward - before,
                    "after_backward": after_backward - before,
                    "peak": peak - before, "reserved": torch.cuda.memory_reserved()})
                del model, x, y, update, loss
    return rows


def checkpointing():
    """Peak memory and seconds of a deep perceptron, with its activations kept and with
    checkpoints that cut it into parts; and the largest difference of the gradients.
    Peaks are above parameters, batch and what is kept for the comparison. A record
    without "gradients_in_base" had the last step's gradients in its base.
    """
    rows, depth, width, batch = [], 64, 1024, 8192
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.ReLU())
                            for _ in range(depth))).to(DEVICE)
    x = torch.randn(batch, width, device=DEVICE)
    right = None
    for parts in (1, 2, 4, 8, 16, 32):
        def run():
            model.zero_grad(set_to_none=True)
            y = (model(x) if parts == 1 else
                 checkpoint_sequential(model, parts, x, use_reentrant=False))
            y.square().mean().backward()

        run()
        found = [p.grad.clone() for p in model.parameters()]
        right = right or found
        difference = max(float((f - r).abs().max()) for f, r in zip(found, right))
        del found
        model.zero_grad(set_to_none=True)  # as run() begins
        torch.cuda.empty_cache()
        base = allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds = timed(run, repeats=5)
        rows.append({"parts": parts, "depth": depth, "width": width, "batch": batch,
                     "seconds": seconds, "difference": difference,
                     "peak": torch.cuda.max_memory_allocated() - base,
                     "gradients_in_base": 0})
    return rows


def accumulation():
    """Peak memory and seconds of one step with a batch of 8,192 split into parts."""
    rows = []
    for micro in (1, 2, 4, 8, 16):
        torch.cuda.empty_cache()
        step = training_step(perceptron(1024, 4096, 2), (8192, 1024), DEVICE,
                             micro=micro)
        step()
        torch.cuda.reset_peak_memory_stats()
        seconds = timed(step, repeats=5)
        rows.append({"parts": micro, "seconds": seconds,
                     "peak": torch.cuda.max_memory_allocated()})
        del step
    return rows


def compiled():
    """A training step of a chain of elementwise functions: run as defined, compiled."""
    x = torch.randn(2**24, device=DEVICE, requires_grad=True)

    def chain(x):
        y = nn.functional.gelu(x * 1.5 + 0.3) * torch.sigmoid(x)
        return y.square().sum()

    start = time.perf_counter()
    fast = torch.compile(chain)
    fast(x).backward()
    wait()
    first = time.perf_counter() - start
    return {"entries": 2**24, "first_call": first,
            "eager": timed(lambda: chain(x).backward()),
            "compiled": timed(lambda: fast(x).backward())}


def machine():
    """What was measured: device, processor, versions."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    driver = None
    if GPU:
        driver = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True).stdout.strip()
    return {"gpu": torch.cuda.get_device_name() if GPU else None, "driver": driver,
            "cpu": cpu.group(1) if cpu else platform.processor(),
            "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads(),
            "python": platform.python_version(), "torch": torch.__version__,
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "numpy": np.__version__, "date": date.today().isoformat()}


PARTS = [products, product_errors, bandwidth, roofline, launches, break_even, precision,
         underflow]
ON_A_GPU = [memory, checkpointing, accumulation, compiled]


def main(folder):
    record = {"machine": machine()}
    name = re.sub(r"[^a-z0-9]+", "-", (record["machine"]["gpu"] or "cpu").lower())
    path = Path(folder) / f"{name.strip('-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in PARTS + (ON_A_GPU if GPU else []):
        start = time.perf_counter()
        try:
            record[part.__name__] = part()
        except Exception as problem:  # the rest is still worth having
            record[part.__name__] = {"failed": f"{type(problem).__name__}: {problem}"}
        print(f"{part.__name__}: {time.perf_counter() - start:.0f} s", flush=True)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n",
                        encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
