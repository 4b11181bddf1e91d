/** The import rule: what each part may import, read from `deno info`. No part knows of what stands above it. @module */
import { assert, assertEquals } from "@std/assert";

const root = new URL("..", import.meta.url);

/**
 * From the bottom up. A file may import from its own group and from lower layers, not from another group of its layer.
 * A group is a folder, or a file.
 */
const layers: readonly (readonly string[])[] = [
  ["core/ir/"],
  ["core/diff/", "core/eval/", "core/kernel/"],
  ["core/plan/"],
  ["core/compile.ts", "core/gpu/", "core/cpu/"],
  ["core/explain.ts"],
  ["core/mod.ts"],
  ["ops/"],
  ["adapters/"],
  ["train/"],
  ["mod.ts"],
  [
    "train.ts",
    "generate.ts",
    "evaluate.ts",
    "report.ts",
    "merge.ts",
    "inspect.ts",
    "plan.ts",
    "examples/",
    "bench/",
  ],
];

/** Where the import graph begins. */
const entries = [
  "mod.ts",
  "train.ts",
  "generate.ts",
  "evaluate.ts",
  "report.ts",
  "merge.ts",
  "inspect.ts",
  "plan.ts",
  "core/cpu/mod.ts",
  "core/gpu/mod.ts",
];

interface Import {
  readonly from: string;
  readonly to: string;
  /** Whether types alone are imported, which leaves nothing at run time. */
  readonly typesOnly: boolean;
}

interface Resolved {
  readonly specifier?: string;
}

/** What `deno info --json` says of a module graph, as far as it is read here. */
interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly dependencies?: readonly { readonly code?: Resolved; readonly type?: Resolved }[];
  }[];
}

/** A path inside the project, or a specifier of a package. */
function local(specifier: string): string {
  return specifier.startsWith(root.href) ? specifier.slice(root.href.length) : specifier;
}

async function importsOf(entry: string): Promise<Import[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
    cwd: root,
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as Info;
  return modules.flatMap(({ specifier, dependencies }) =>
    (dependencies ?? []).flatMap(({ code, type }): Import[] => {
      const to = code?.specifier ?? type?.specifier;
      return to === undefined ? [] : [{ from: local(specifier), to: local(to), typesOnly: !code?.specifier }];
    })
  ).filter(({ from }) => isOwn(from));
}

function isOwn(path: string): boolean {
  return !path.includes(":");
}

/** TypeScript files of the project under `path`. */
async function* files(path: string): AsyncGenerator<string> {
  if (path.endsWith(".ts")) return yield path;
  for await (const { name, isDirectory } of Deno.readDir(new URL(path, root))) {
    if (isDirectory) yield* files(`${path}${name}/`);
    else if (name.endsWith(".ts")) yield `${path}${name}`;
  }
}

/** A file's layer and the group in it. */
function placeOf(path: string): { readonly layer: number; readonly group: string } {
  const layer = layers.findIndex((groups) => groups.some((g) => path.startsWith(g)));
  assert(layer >= 0, `${path} belongs to no layer; add its folder to the table.`);
  return { layer, group: layers[layer]!.find((g) => path.startsWith(g))! };
}

const examples = (await Array.fromAsync(files("examples/"))).filter((path) => path.split("/").length === 2);
const graphs = await Promise.all([...entries, ...examples].map(importsOf));
const imports = [...new Map(graphs.flat().map((i) => [`${i.from} ${i.to}`, i])).values()];
const own = imports.filter(({ to }) => isOwn(to));

Deno.test("the import graph was read", () => {
  for (
    const { from, to } of [{ from: "ops/stages.ts", to: "core/diff/vjp.ts" }, {
      from: "core/plan/make_plan.ts",
      to: "core/kernel/fuse.ts",
    }]
  ) {
    assert(
      own.some((i) => i.from === from && i.to === to),
      `${from} imports ${to}; deno info does not show it.`,
    );
  }
});

Deno.test("nothing imports upward or sideways", () => {
  const wrong = own.filter(({ from, to }) => {
    if (to.startsWith("tests/")) return true;
    const a = placeOf(from), b = placeOf(to);
    return a.group !== b.group && b.layer >= a.layer;
  });
  assertEquals(wrong.map(({ from, to }) => `${from} → ${to}`), []);
});

Deno.test("ops and adapters know of no device and of no effects", () => {
  const forbidden = ["core/gpu/", "core/cpu/", "core/plan/device.ts", "core/mod.ts", "npm:/effect"];
  const wrong = imports.filter(({ from, to }) =>
    /^(ops|adapters)\//.test(from) && forbidden.some((f) => to.startsWith(f))
  );
  assertEquals(wrong.map(({ from, to }) => `${from} → ${to}`), []);
});

Deno.test("Effect stays at the edge", () => {
  const wrong = imports.filter(({ from, to }) =>
    to.startsWith("npm:/effect") &&
    !/^(train\/|train\.ts|generate\.ts|evaluate\.ts|merge\.ts|examples\/)/.test(from)
  );
  assertEquals(wrong.map(({ from, to }) => `${from} → ${to}`), []);
});

/** Groups of files that reach each other: Tarjan's strongly connected components of more than one file. */
function cycles(edges: readonly Import[]): string[][] {
  const next = Map.groupBy(edges, (e) => e.from);
  const index = new Map<string, number>(), low = new Map<string, number>();
  const stack: string[] = [], found: string[][] = [];
  const visit = (v: string): void => {
    index.set(v, index.size);
    low.set(v, index.get(v)!);
    stack.push(v);
    for (const { to } of next.get(v) ?? []) {
      if (!index.has(to)) visit(to);
      if (stack.includes(to)) low.set(v, Math.min(low.get(v)!, low.get(to)!));
    }
    if (low.get(v) !== index.get(v)) return;
    const component = stack.splice(stack.indexOf(v));
    if (component.length > 1) found.push(component.sort());
  };
  for (const v of next.keys()) if (!index.has(v)) visit(v);
  return found;
}

Deno.test("no files import each other in a circle", () => {
  // Derivatives of ops are written in ops: the sum's is a broadcast and the broadcast's a sum. Types vanish at run time.
  const edges = own.filter(({ from, to, typesOnly }) =>
    !typesOnly && !(from.startsWith("ops/") && to.startsWith("ops/"))
  );
  assertEquals(cycles(edges), []);
  assertEquals(cycles([{ from: "a", to: "b", typesOnly: false }, { from: "b", to: "a", typesOnly: false }]), [
    ["a", "b"],
  ]);
});

Deno.test("every file of the library is reached from an entry point", async () => {
  const reached = new Set([...entries, ...examples, ...own.flatMap(({ from, to }) => [from, to])]);
  const all =
    (await Promise.all(["core/", "ops/", "adapters/", "train/"].map((path) => Array.fromAsync(files(path)))))
      .flat();
  assertEquals(all.filter((path) => !reached.has(path)), []);
});

/** Text that only some files may contain. */
const languages: readonly { readonly what: string; readonly pattern: RegExp; readonly allowed: RegExp }[] = [
  {
    what: "WGSL",
    pattern: /@compute|@workgroup_size|var<(storage|workgroup)/,
    // The other is a kernel with parts left out, to be measured and never run for its result.
    allowed: /^core\/kernel\/wgsl|^bench\/product_kernel\.ts$/,
  },
  {
    what: "WebAssembly text",
    pattern: /\((module|func|memory|param|local)[\s`"]+\$|\(module[\s`"]/,
    allowed: /^core\/kernel\/wat/,
  },
  { what: "the GPU of the runtime", pattern: /navigator\.gpu/, allowed: /^core\/gpu\// },
];

Deno.test("WGSL, WebAssembly text and the GPU each have one place", async () => {
  const sources = (await Promise.all(layers.flat().map((path) => Array.fromAsync(files(path))))).flat();
  const texts = await Promise.all(
    sources.map(async (path) => ({ path, text: await Deno.readTextFile(new URL(path, root)) })),
  );
  for (const { what, pattern, allowed } of languages) {
    const found = texts.filter(({ text }) => pattern.test(text)).map(({ path }) => path);
    assert(found.some((path) => allowed.test(path)), `${what} is found nowhere: the pattern is out of date.`);
    assertEquals(found.filter((path) => !allowed.test(path)), [], what);
  }
});
