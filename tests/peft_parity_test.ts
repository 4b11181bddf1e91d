/**
 * Parity with Hugging Face PEFT: what `tests/fixtures/make_peft.py` recorded there (logits, loss, gradients, 20 AdamW
 * steps, float32) is what Gyre computes from the same directory. @module
 */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { measureParity, PARITY_CASES } from "./peft_parity.ts";

for (const name of PARITY_CASES) {
  Deno.test(`PEFT ${name}: logits, loss, gradients and 20 AdamW steps are PEFT's`, async () => {
    const device = await openCpu();
    try {
      const { logits, loss, gradients, final, moved, compared, recorded } = await measureParity(name, device);
      assert(logits <= 1e-4, `logits differ by ${logits}`);
      assert(loss <= 1e-5, `the loss differs by ${loss} of itself`);
      assert(moved > 1e-3, "the adapter does nothing here");
      assertEquals(compared, recorded);
      assert(gradients <= 1e-3, `gradients differ by ${gradients} of the largest`);
      assert(final <= 1e-3, `the loss after training differs by ${final} of itself`);
    } finally {
      await device.close();
    }
  });
}
