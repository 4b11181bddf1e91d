/** Placing adapters by pattern, and what is said when they do not fit. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { butterfly, butterflyStages, fit, identity, lowRank, on, place, unitary } from "../adapters/mod.ts";
import { erase } from "../adapters/place.ts";
import { aval, fill, input, ShapeError, type Tensor } from "../core/mod.ts";
import { fourierCoefficients, key } from "../ops/mod.ts";

const names = ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj"];
const modules = [0, 1, 12].flatMap((layer) =>
  names.map((name) => ({ path: `model.layers.${layer}.${name}`, inDim: 16, outDim: 8 }))
);

/** Paths that a pattern is for. */
function matched(pattern: string): string[] {
  return place(modules, [on(pattern, identity)]).map((p) => p.module.path);
}

Deno.test("on: ends of paths, stars, lists, everything", () => {
  assertEquals(matched("q_proj"), modules.map((m) => m.path).filter((p) => p.endsWith(".q_proj")));
  assertEquals(matched("mlp.up_proj").length, 3);
  assertEquals(matched("model.layers.1.*"), names.map((n) => `model.layers.1.${n}`));
  assertEquals(matched("*.1.mlp.*"), ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]);
  assertEquals(matched("*_proj").length, modules.length);
  assertEquals(matched(" q_proj , v_proj").length, 6);
  assertEquals(matched("all-linear").length, modules.length);
  assertEquals(matched("model.layers.0.self_attn.q_proj"), ["model.layers.0.self_attn.q_proj"]);
});

Deno.test("on: blocks by name, ranges of layers", () => {
  const wide = Array.from({ length: 13 }, (_, layer) => names.map((n) => `model.layers.${layer}.${n}`))
    .flat();
  const of = (pattern: string): string[] => wide.filter(on(pattern, identity).matches);
  assertEquals(of("attn"), wide.filter((p) => p.includes(".self_attn.")));
  assertEquals(of("mlp"), wide.filter((p) => p.includes(".mlp.")));
  assertEquals(of("attn,mlp"), wide);
  const layers = (
    paths: readonly string[],
  ): number[] => [...new Set(paths.map((p) => Number(p.split(".")[2])))];
  assertEquals(layers(of("*.layers.2-5.*")), [2, 3, 4, 5]);
  assertEquals(layers(of("*.9-11.*")), [9, 10, 11]);
  assertEquals(of("*.3-3.mlp.*"), ["model.layers.3.mlp.up_proj", "model.layers.3.mlp.down_proj"]);
  assertEquals(of("1-2.self_attn.q_proj"), [1, 2].map((i) => `model.layers.${i}.self_attn.q_proj`));
  assertEquals(of("*.5-2.*"), []);
  // Numbers, not their digits; a hyphen elsewhere is a letter like others.
  assertEquals(layers(of("*.1-2.*")), [1, 2]);
  assert(on("*.a-b.*", identity).matches("x.a-b.y"));
});

Deno.test("on: names match whole, and dots are dots", () => {
  assert(!on("proj", identity).matches("model.q_proj"));
  assert(!on("*.q.proj", identity).matches("model.q_proj"));
  assert(!on("model.*", identity).matches("a.model.q_proj"));
});

Deno.test("place: the first placement that matches wins, unmatched maps stay as they are", () => {
  const placed = place(modules, [
    on("model.layers.0.*", butterfly({ block: 4, factors: 1 })),
    on("q_proj", lowRank({ rank: 2, alpha: 2 })),
  ]);
  const kinds = new Map(placed.map((p) => [p.module.path, p.fitted.name]));
  assertEquals(kinds.get("model.layers.0.self_attn.q_proj"), "oft");
  assertEquals(kinds.get("model.layers.1.self_attn.q_proj"), "lora");
  assertEquals(kinds.has("model.layers.1.mlp.up_proj"), false);
  assertEquals(kinds.size, 6);
});

Deno.test("place: a pattern for nothing is an error that names what there is", () => {
  const error = assertThrows(() => place(modules, [on("k_proj", identity)]), ShapeError);
  for (const part of ["k_proj", "q_proj", "v_proj", "up_proj", "down_proj"]) {
    assertStringIncludes(error.message, part);
  }
});

Deno.test("place: an adapter that does not fit names the map", () => {
  const error = assertThrows(
    () => place(modules, [on("q_proj", lowRank({ rank: 9, alpha: 9 }))]),
    ShapeError,
  );
  assertStringIncludes(error.message, "rank 9");
  assertStringIncludes(error.message, "model.layers.0.self_attn.q_proj");
});

Deno.test("lowRank: ranks that are too large, zero or broken", () => {
  for (const rank of [0, -1, 1.5, 9, 100]) {
    assertThrows(() => fit(lowRank({ rank, alpha: 1 }), { inDim: 16, outDim: 8 }), ShapeError, "use 1 to 8");
  }
});

Deno.test("butterfly: blocks that cannot be", () => {
  assertThrows(() => butterflyStages(3, 2), ShapeError, "block must be even");
  assertThrows(() => butterfly({ block: 5, factors: 3 }), ShapeError, "block must be even");
  for (const [block, factors] of [[1, 1], [0, 1], [2.5, 1], [4, 0], [4, 1.5]] as const) {
    assertThrows(() => butterfly({ block, factors }), ShapeError, "at least 2");
  }
});

Deno.test("butterfly: the error of a map that does not divide suggests only what fits", () => {
  const tries = fc.record({
    inDim: fc.integer({ min: 1, max: 300 }),
    block: fc.integer({ min: 1, max: 20 }).map((half) => 2 * half),
    factors: fc.integer({ min: 1, max: 5 }),
  });
  let failures = 0;
  fc.assert(
    fc.property(tries, ({ inDim, block, factors }) => {
      if (inDim % (block * 2 ** (factors - 1)) === 0) return;
      failures++;
      const { message } = assertThrows(
        () => fit(butterfly({ block, factors }), { inDim, outDim: 4 }),
        ShapeError,
      );
      assertStringIncludes(message, `${inDim} features`);
      const found = /With (\d+) factors? a block of ([\d, ]+) fits\.$/.exec(message);
      if (!found) return assertStringIncludes(message, "leave this map out");
      for (const b of found[2]!.split(", ").map(Number)) {
        fit(butterfly({ block: b, factors: Number(found[1]) }), { inDim, outDim: 4 });
      }
    }),
    { numRuns: 200 },
  );
  assert(failures > 50);
  assertThrows(
    () => fit(butterfly({ block: 4, factors: 1 }), { inDim: 67, outDim: 4 }),
    ShapeError,
    "leave this map out",
  );
});

Deno.test("fit: what an adapter derives is traced once, and Fourier transforms of one length share their blocks", () => {
  const dims = { inDim: 256, outDim: 4 }, bare = unitary();
  let traced = 0;
  const counted = {
    ...bare,
    derive: (params: Parameters<NonNullable<typeof bare.derive>>[0]) => {
      traced++;
      return bare.derive!(params);
    },
  };
  const { apply, leaves, derived } = fit(erase(counted, dims), dims);
  assertEquals(traced, 1);
  // Bound by what was derived too, for which the layout is known by then.
  const values = [...leaves, ...derived].map((leaf) => input(leaf.aval, leaf.path));
  apply(values, (x) => x)(input(aval([2, 256]), "x"));
  assertEquals(traced, 1);

  const nodes = (make: () => Tensor): number => {
    const before = input(aval([1]), "before");
    return make().order - before.order;
  };
  const site = { ...dims, weight: fill(0, [4, 256]), factors: [] };
  const one = nodes(() => fourierCoefficients(128));
  const all = nodes(() => bare.derive!(bare.init(key(0), site)).blocks!);
  assert(one > 300 && all < 3 * one, `${one} nodes for the blocks of a transform, ${all} for all`);
});
