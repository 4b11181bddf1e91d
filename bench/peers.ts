/** Other libraries that run matrix products in WebAssembly. @module */
import * as jax from "npm:@jax-js/jax@0.1.25";
import * as tfjs from "npm:@tensorflow/tfjs-core@4.22.0";
import "npm:@tensorflow/tfjs-backend-wasm@4.22.0";
import { type Contender, randomMatrix } from "./contender.ts";

/** TensorFlow.js with its SIMD module; its threaded one does not start in Deno. */
export async function tensorflow(): Promise<Contender> {
  if (!await tfjs.setBackend("wasm")) throw new Error("The wasm backend of TensorFlow.js did not start.");
  return {
    name: "tfjs-backend-wasm 4.22.0",
    threads: 1,
    prepare: (n) => {
      const a = tfjs.tensor2d(randomMatrix(n), [n, n]), b = tfjs.tensor2d(randomMatrix(n), [n, n]);
      const run = (): void => tfjs.matMul(a, b).dispose();
      return Promise.resolve({ run, free: () => tfjs.dispose([a, b]) });
    },
    close: () => Promise.resolve(),
  };
}

/** jax-js with its WebAssembly backend, which starts a worker for each core. */
export async function jaxJs(): Promise<Contender> {
  await jax.init("wasm");
  jax.defaultDevice("wasm");
  return {
    name: "jax-js 0.1.25",
    threads: navigator.hardwareConcurrency,
    prepare: (n) => {
      const matrix = (): jax.Array => jax.numpy.array(randomMatrix(n)).reshape([n, n]);
      const a = matrix(), b = matrix();
      const run = async (): Promise<void> => {
        const c = jax.numpy.matmul(a.ref, b.ref);
        await c.blockUntilReady();
        c.dispose();
      };
      const free = (): void => [a, b].forEach((x) => x.dispose());
      return Promise.resolve({ run, free });
    },
    close: () => Promise.resolve(),
  };
}
