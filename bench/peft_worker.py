"""Runs of transformers + PEFT on rows of GLUE, for examples/paper.ts: the same rows in the same batches, the same optimiser,
schedule, rates and maps. Reads a request as a line of JSON from standard input and writes its answer as a line of JSON to
standard output, until the input ends; how far it is goes to standard error. Needs torch, transformers and peft.
"""

import json
import math
import os
import sys
import time

# Whatever libraries print goes to standard error: standard output is for answers alone.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

print("loading torch and transformers", file=sys.stderr, flush=True)

import torch  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

MAPS = r".*encoder\.layer\.\d+\.(attention\.self\.(query|key|value)|(attention\.output|intermediate|output)\.dense)"
ORTHOGONAL = ("oft_R", "boft_R", "hra_u")


def say(line):
    """A sign of life for the one who asked."""
    print(line, file=sys.stderr, flush=True)


class Diverged(Exception):
    pass


def adapt(model, q):
    """The model with the adapter of a method; the model itself where all weights are trained."""
    from peft import BOFTConfig, HRAConfig, LoraConfig, OFTConfig, get_peft_model
    common = dict(task_type="SEQ_CLS", target_modules=MAPS, modules_to_save=q["saved"] or None)
    low = dict(r=q["rank"], lora_alpha=q["alpha"], lora_dropout=0.0, **common)
    configs = {
        "lora": lambda: LoraConfig(**low),
        "rslora": lambda: LoraConfig(use_rslora=True, **low),
        "dora": lambda: LoraConfig(use_dora=True, **low),
        "pissa": lambda: LoraConfig(init_lora_weights="pissa", **low),
        "olora": lambda: LoraConfig(init_lora_weights="olora", **low),
        "oft": lambda: OFTConfig(oft_block_size=8, use_cayley_neumann=False, **common),
        "boft": lambda: BOFTConfig(boft_block_size=8, boft_n_butterfly_factor=2, **common),
        "hra": lambda: HRAConfig(r=q["rank"], **common),
    }
    if q["method"] == "boft":
        build_boft()
    return model if q["method"] == "full" else get_peft_model(model, configs[q["method"]]())


def build_boft():
    """Build the CUDA extension of BOFT once: where that fails, PEFT would try again for every map."""
    from peft.tuners.boft import layer
    say("building PEFT's CUDA extension of BOFT")
    built = layer.get_fbd_cuda()
    layer.get_fbd_cuda = lambda: built


def note_on(model):
    """What is not as it was asked for; None where all is."""
    found = {m.fbd_cuda_available for m in model.modules() if hasattr(m, "fbd_cuda_available")}
    return "one butterfly factor instead of two, since PEFT's CUDA extension did not build" if False in found else None


def read_rows(path, task):
    lines = open(path, encoding="utf-8", newline="\n").read().split("\n")
    table = [line.rstrip("\r").split("\t") for line in lines if line]
    if task["named"]:
        names, *table = table
        place = {name.strip(): i for i, name in enumerate(names)}
    else:
        place = {i: i for i in range(task["cells"])}
    target = task["target"]
    rows = []
    for cells in table:
        label = cells[place[task["label"]]].strip()
        value = target["labels"].index(label) if target["kind"] == "classes" else float(label)
        rows.append(([cells[place[c]].strip() for c in task["sentences"]], value))
    return rows


def multiplier(step, total, warmup):
    """Linear warm-up, then half a cosine; steps count from 0."""
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup)))) / 2


def run(q):
    torch.set_num_threads(q["threads"])
    torch.manual_seed(q["seed"])
    device = q["device"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU with CUDA here; give --device cpu, or a Python whose torch has CUDA")
    processor = torch.cuda.get_device_name() if on_gpu else f"CPU, {q['threads']} threads"
    say(f"device: {processor}")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    task, numbers = q["task"], q["task"]["target"]["kind"] == "regression"
    tokenizer = AutoTokenizer.from_pretrained(q["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        q["model"], num_labels=1 if numbers else len(task["target"]["labels"]), hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, dtype=torch.float32)
    model = adapt(model, q).to(device)
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    slow = [p for n, p in trained if any(o in n for o in ORTHOGONAL)]
    fast = [p for n, p in trained if not any(o in n for o in ORTHOGONAL)]
    groups = [dict(params=ps, base=base) for ps, base in ((fast, q["lr"]), (slow, q["orthogonalLr"])) if ps]
    optimiser = torch.optim.AdamW(groups, lr=q["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

    def encode(rows, **padding):
        texts = [[r[0][i] for r in rows] for i in range(len(rows[0][0]))]
        return tokenizer(*texts, truncation="longest_first", return_tensors="pt", return_token_type_ids=True, **padding)

    rows, total = read_rows(q["train"], task), len(q["batches"])
    kind = torch.float32 if numbers else torch.long
    # Before the clock runs, as Gyre does.
    batches = [({**encode(chosen, max_length=planned["length"], padding="max_length")},
                torch.tensor([r[1] for r in chosen], dtype=kind))
               for planned in q["batches"] for chosen in [[rows[i] for i in planned["rows"]]]]
    warmup = min(total, round(q["warmup"] * total))
    model.train()
    losses, seconds, start, told = [], [], None, 0
    for step, (inputs, labels) in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * multiplier(step, total, warmup)
        optimiser.zero_grad(set_to_none=True)
        loss = model(**{k: v.to(device) for k, v in inputs.items()}, labels=labels.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in trained], q["clip"])
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise Diverged(f"step {step + 1}: the loss is {losses[-1]}")
        if step + 1 == total and on_gpu:
            torch.cuda.synchronize()
        # As in Gyre's metrics, the clock begins at the end of the first step.
        start = start or time.perf_counter()
        seconds.append(time.perf_counter() - start)
        if step % 10 == 0 or step + 1 == total or time.perf_counter() - told > 5:
            told = time.perf_counter()
            say(f"step {step + 1}/{total}  loss {losses[-1]:.4f}")
    answer = {"processor": processor, "predicted": [],
              "truth": [], "seconds": seconds, "losses": losses, "trainable": sum(p.numel() for _, p in trained),
              "deviceBytes": torch.cuda.max_memory_allocated() if on_gpu else None, "note": note_on(model)}
    if q["dev"] is None:
        return answer
    model.eval()
    held = read_rows(q["dev"], task)
    with torch.no_grad():
        for at in range(0, len(held), 32):
            if at % 320 == 0:
                say(f"measuring: row {at} of {len(held)}")
            inputs = encode(held[at:at + 32], max_length=q["seq"], padding=True).to(device)
            logits = model(**inputs).logits
            answer["predicted"] += (logits[:, 0] if numbers else logits.argmax(1)).tolist()
    return {**answer, "truth": [r[1] for r in held]}


def answer_to(line):
    try:
        return run(json.loads(line))
    except Diverged as error:
        return {"diverged": str(error)}
    except Exception as error:  # Whatever it is, the one who asked has to tell of it.
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    for line in sys.stdin:
        print(json.dumps(answer_to(line)), file=answers, flush=True)
