/** A plan for people. @module */
import { showBytes } from "../../core/mod.ts";
import { showParts } from "../memory.ts";
import { showTable } from "../report.ts";
import type { RunPlan } from "./run_plan.ts";

/** Intermediates that are listed. */
const SHOWN = 5;

/** A plan as tables. */
export function showRunPlan(plan: RunPlan): string {
  const {
    model,
    parameters,
    method,
    batch,
    seq,
    memory,
    step,
    run,
    weights,
    planned_layers,
    problems,
    advice,
  } = plan;
  const large = Object.entries(step.intermediates).sort(([, a], [, b]) => b - a);
  const percent = (bytes: number): string => `${(100 * bytes / step.total).toFixed(1)} %`;
  const row = (name: string, bytes: number): string[] => [name, showBytes(bytes), percent(bytes)];
  const parts = [
    row("frozen weights", step.weights),
    ...(step.weights * 10 > step.total
      ? Object.entries(weights).filter(([, b]) => b * 50 > step.total).map(([kind, b]) => row(`  ${kind}`, b))
      : []),
    row("trained parameters", step.trained),
    row("optimiser", step.optimiser),
    row("activations, gradients", step.temporaries),
    ...large.slice(0, SHOWN).map(([name, bytes]) => row(`  ${name}`, bytes)),
    row("one step", step.total),
  ];
  const count = (n: number): string => Math.round(n).toLocaleString("en");
  const lines = [
    `${model}: ${count(parameters)} parameters; ${method}: ${count(step.trainable)} trained`,
    ...(planned_layers
      ? [`planned with ${planned_layers.join(" and ")} layers, carried on linearly; --exact plans all`]
      : []),
    "",
    showTable([["memory of a step of " + `${batch} × ${seq} tokens`, "bytes", "share"], ...parts]),
    "",
    `the whole run at its peak: ${
      showBytes(run.peak)
    }, with batches of all lengths up to ${seq} (at the start ${showBytes(run.start)}; then ${
      showParts(run)
    })`,
    `largest buffer: ${showBytes(step.largest.bytes)} (${step.largest.what})`,
    `time of a step: ${seconds(step.seconds)} at least (${count(step.kernels)} kernels, ${
      (step.operations / 1e12).toPrecision(3)
    } · 10¹² operations of products, ${showBytes(step.traffic)} moved); ${
      count(plan.tokens_per_s)
    } tokens/s at most`,
    problems.length === 0
      ? `fits: the device has ${showBytes(memory)}`
      : `DOES NOT FIT: ${problems.join("; ")}`,
    ...(advice.length === 0 ? [] : [
      "",
      "each alone would come to:",
      ...advice.map((a) => `  ${a.flags}: ${showBytes(a.total)}${a.fits ? ", fits" : ""}`),
    ]),
  ];
  return lines.join("\n");
}

function seconds(s: number): string {
  return s < 1 ? `${(1000 * s).toPrecision(3)} ms` : `${s.toPrecision(3)} s`;
}
