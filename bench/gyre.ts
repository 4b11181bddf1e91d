/** Gyre's CPU target as a contender. @module */
import { openCpu } from "../core/cpu/mod.ts";
import { type Contender, randomMatrix } from "./contender.ts";
import { matmulPlan } from "./matmul.ts";

/** Gyre on `threads` threads. */
export async function gyre(threads: number): Promise<Contender> {
  const device = await openCpu({ threads });
  return {
    name: "Gyre CPU target",
    threads,
    prepare: async (n) => {
      const plan = matmulPlan(n, n, n);
      const executable = await device.compile(plan);
      const inputs = plan.inputs.map(({ aval }) => device.upload(randomMatrix(n), aval));
      return {
        run: () => void executable.run(inputs),
        free: () => {
          inputs.forEach((array) => device.free(array));
          executable.dispose();
        },
      };
    },
    close: () => device.close(),
  };
}
