/** Models of real sizes with random weights: speed does not depend on what the numbers are. @module */
import { sizeOf } from "../core/ir/aval.ts";
import { weightShapes } from "../train/decoder.ts";
import type { LlamaConfig } from "../train/llama_config.ts";
import { llamaShape, MODEL_SHAPES } from "../train/run_plan/shapes.ts";
import type { HostTensor } from "../train/training.ts";

/** Shapes by name: SmolLM2-135M, Llama-3.2-1B, Llama-2-7B, and one for trying out. */
export const SHAPES: Readonly<Record<string, LlamaConfig>> = {
  tiny: llamaShape(64, 2, [4, 2], 160, 320, true),
  "135M": MODEL_SHAPES["SmolLM2-135M"]!,
  "1B": MODEL_SHAPES["Llama-3.2-1B"]!,
  "7B": MODEL_SHAPES["Llama-2-7B"]!,
};

/** Weights of a model, normal in size, uniform in kind. */
export function randomWeights(config: LlamaConfig, dtype: "f32" | "f16"): Map<string, HostTensor> {
  const shapes = [...weightShapes(config)];
  const most = Math.max(...shapes.map(([, { shape }]) => sizeOf(shape)));
  // All tensors read the same numbers: a billion of them take long to draw.
  const numbers = new Float32Array(most);
  let state = 1;
  for (let i = 0; i < most; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    numbers[i] = state / 2 ** 31 * 0.035;
  }
  const halves = dtype === "f16" ? new Uint16Array(new Float16Array(numbers).buffer) : null;
  return new Map(shapes.map(([name, { shape }]): [string, HostTensor] => {
    const size = sizeOf(shape);
    if (shape.length === 1) {
      return [name, { aval: { shape, dtype: "f32" }, data: new Float32Array(size).fill(1) }];
    }
    return [name, { aval: { shape, dtype }, data: (halves ?? numbers).subarray(0, size) }];
  }));
}
