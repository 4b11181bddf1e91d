/** `--compose`: its grammar, what its errors point at, and that it builds what is built by hand. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Adapter,
  butterfly,
  compose,
  fit,
  type Fitted,
  givens,
  gradNormShare,
  householder,
  hybrid,
  identity,
  lowRank,
  mix,
  parallel,
  scale,
  unitary,
} from "../adapters/mod.ts";
import { evaluate } from "../core/mod.ts";
import { DEFAULT_SETTINGS } from "../train/adapter_specs.ts";
import { type ComposedPlacement, composedPlacements, requirePlaces } from "../train/compose_adapters.ts";
import {
  type Amount,
  type Call,
  parseExpression,
  type Placing,
  printExpression,
} from "../train/compose_expression.ts";
import { OptionError } from "../train/errors.ts";
import { sampleOf } from "./check_adapter.ts";

const ISSUED = "on(attn, hybrid(lora-ga(r=16), boft(b=8,m=2))) + on(mlp, dora(r=8))";
const dims = { inDim: 32, outDim: 24 };

/** Names, numbers and patterns at random. */
const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,6}$/).filter((n) => n !== "on");
const value = fc.stringMatching(/^[\w.*-]{1,5}$/);
const amount: fc.Arbitrary<Amount> = fc.double({ noNaN: true, noDefaultInfinity: true })
  .map((v) => ({ kind: "amount", value: v === 0 ? 0 : v, at: 0 }));
const settings = fc.uniqueArray(fc.tuple(name, value), { maxLength: 3, selector: ([n]) => n })
  .map((list) => list.map(([n, v]) => ({ name: n, at: 0, value: v, valueAt: 0 })));
const { call } = fc.letrec<{ call: Call }>((tie) => ({
  call: fc.record({
    kind: fc.constant("call" as const),
    name,
    at: fc.constant(0),
    parts: fc.array(fc.oneof({ depthSize: "small" }, amount, tie("call")), { maxLength: 3 }),
    settings,
  }),
}));
const placing = (pattern: fc.Arbitrary<string | null>): fc.Arbitrary<Placing> =>
  fc.record({ pattern, at: fc.constant(0), adapter: call });
const patterns = fc.oneof(value, fc.stringMatching(/^[\w., *-]{0,9}$/));
const expressions: fc.Arbitrary<readonly Placing[]> = fc.oneof(
  fc.array(placing(patterns), { minLength: 1, maxLength: 3 }),
  placing(fc.constant(null)).map((p) => [p]),
);

/** The same tree, every position replaced by 0; `see` gets the positions and what stands there. */
function bare(list: readonly Placing[], see: (at: number, starts: string) => void): Placing[] {
  const ofCall = (c: Call): Call => {
    see(c.at, c.name);
    return {
      ...c,
      at: 0,
      parts: c.parts.map((p) => {
        if (p.kind === "call") return ofCall(p);
        see(p.at, String(p.value).replace("e+", "e"));
        return { ...p, at: 0 };
      }),
      settings: c.settings.map((s) => {
        see(s.at, s.name);
        see(s.valueAt, s.value);
        return { ...s, at: 0, valueAt: 0 };
      }),
    };
  };
  return list.map((p) => {
    see(p.at, p.pattern === null ? p.adapter.name : "on(");
    return { ...p, at: 0, adapter: ofCall(p.adapter) };
  });
}

Deno.test("compose: what is printed reads back as the same tree, with the places where things stand", () => {
  fc.assert(fc.property(expressions, (tree) => {
    const text = printExpression(tree);
    const read = bare(parseExpression(text), (at, starts) => {
      assert(text.startsWith(starts, at), `"${starts}" is not at ${at} of ${text}`);
    });
    assertEquals(read, bare(tree, () => {}));
  }));
});

Deno.test("compose: spaces, line breaks and quotes do not matter", () => {
  const spread = ISSUED.replace(/[(),=+]/g, (mark) => `\n ${mark}\t`).replace("attn", '"attn"');
  const none = (): void => {};
  assertEquals(bare(parseExpression(spread), none), bare(parseExpression(ISSUED), none));
  assertEquals(
    printExpression(parseExpression(spread)),
    "on(attn, hybrid(lora-ga(r=16), boft(b=8, m=2))) + on(mlp, dora(r=8))",
  );
});

Deno.test("compose: whatever the text, the outcome is a tree or an error that points into it", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "on(",
      "attn",
      ",",
      ")",
      "(",
      "=",
      "+",
      "lora",
      "mix",
      "r",
      "8",
      "0.5",
      '"',
      " ",
      "boft(b=4)",
    ),
    fc.string({ maxLength: 3 }),
  );
  fc.assert(fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
    const text = pieces.join("");
    try {
      composedPlacements(text, DEFAULT_SETTINGS, "all-linear");
    } catch (error) {
      assert(error instanceof OptionError, String(error));
      const at = error.data["at"];
      assert(typeof at === "number" && at >= 0 && at <= text.length, `at ${at}`);
      assertEquals(error.message.split("\n").at(-1), `  ${" ".repeat(at)}^`);
    }
  }));
});

/** Expressions with a mistake; `‸` stands before the character that the error points at. */
const WRONG: readonly (readonly [marked: string, ...parts: string[]])[] = [
  ["‸", "the expression ends", "an adapter"],
  ["‸  ", "the expression ends"],
  ["on(attn, ‸lorra(r=4))", 'unknown adapter "lorra"', "did you mean lora?", "There are lora, rslora"],
  ["‸constructor", "unknown adapter"],
  ["lora(r=8‸", "the expression ends", '"," or ")"'],
  ["lora(r=8)‸)", 'an unexpected ")"', "nothing more"],
  ["lora(r=‸)", "a value for r"],
  ["lora(‸=8)", 'an unexpected "="'],
  ["lora ‸+ dora", 'only places "on(…)" are added', "parallel(a, b)"],
  ["on(attn, lora) ‸on(mlp, dora)", '"+" and another "on(…)"'],
  ["on(attn, lora) + ‸dora", '"on"'],
  ["on(attn ‸q_proj, lora)", '"," and an adapter', "several patterns go in quotes"],
  ["on(q_proj, v_proj‸, lora)", 'an unexpected ","', '")"'],
  ["mix(lora, ‸on(mlp, dora))", '"on" inside an adapter'],
  ['on(‸"attn, lora)', "a quote without its end"],
  ["lora(r=8‸; alpha=4)", 'an unexpected ";"'],
  ["lora(r=8, ‸r=4)", "r given twice"],
  ["lora(r=8, ‸rank=4)", "rank given twice"],
  ["lora(r=‸x)", 'r is "x"', "a whole number from 1 to 65536"],
  ["lora(alpha=‸-1)", "a number above 0"],
  ["lora(‸b=8)", 'lora does not use "b"', "It uses r (rank), alpha"],
  ["lora(‸alhpa=8)", "did you mean alpha?"],
  ["hra(r=‸0)", "a whole number from 1 to 65536"],
  ["scale(2, ‸hra(r=3))", "hra does not fit", "even number from 2 to 32"],
  ["unitary(‸r=3)", "it has no settings"],
  ["boft(‸r=8)", "It uses b (block), row-scale, dropout, neumann, m (factors)"],
  ["lora-ga(variant=‸pefd)", "did you mean peft?"],
  ["boft(row-scale=‸1)", "one of true, false"],
  ["compose(dora, boft, ‸r=2)", "compose does not use", "it has no settings"],
  ["hybrid(lora, boft, ‸r=4)", 'hybrid does not use "r"', "It uses space, scope, input, ema, clamp"],
  ["‸hybrid(lora)", "hybrid of 1", "two adapters or more"],
  ["lora(‸8)", "an unexpected 8", "r=8"],
  ["lora(‸boft)", "it takes no adapters"],
  ["identity(‸boft)", "it takes no adapters"],
  ["‸scale(lora)", "scale without a number", "scale(0.5, lora)"],
  ["‸scale(0.5)", "one adapter"],
  ["scale(0.5, lora, ‸boft)", "one adapter"],
  ["‸mix(lora)", "two adapters or more"],
  ["mix(lora, ‸compose(identity, identity))", "trains nothing"],
  ["mix(lora, boft, dora, clamp=‸0.4)", "clamp 0.4 for 3 branches", "less than 1/3"],
  ["mix(lora, boft, space=‸updat)", "did you mean update?"],
  ["on(attn, lora) + ‸on(k_proj, lora)", 'no linear map for "k_proj"', "q_proj, o_proj, up_proj"],
  ["on(all-linear, lora) + ‸on(mlp, lora)", 'no linear map left for "mlp"', "before it"],
  ["on(attn, mix(boft(b=4), ‸lora(r=40)))", "lora does not fit", "rank 40: use 1 to 24"],
  ["on(attn, mix(lora, ‸boft(b=24)))", "boft does not fit", "32 is not divisible", "fits."],
  ["mix(lora, ‸boft(b=3, m=2))", "boft does not fit", "must be even"],
  ["‸mix(dora, boft, space=generator)", "mix does not fit", "Cannot mix dora in generator space"],
  ["scale(2, ‸compose(dora, parallel(lora, boft)))", "compose does not fit", "norms of a map's rows"],
];

const modules = ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"]
  .map((path) => ({ path: `model.layers.0.${path}`, ...dims }));

/** Everything that can go wrong with an expression in a model of these maps. */
function placed(text: string): readonly ComposedPlacement[] {
  const list = composedPlacements(text, DEFAULT_SETTINGS, "all-linear");
  requirePlaces(text, list, modules);
  for (const { fit } of list) fit(dims);
  return list;
}

for (const [marked, ...parts] of WRONG) {
  Deno.test(`compose: ${marked} is refused`, () => {
    const at = marked.indexOf("‸"), text = marked.replace("‸", "");
    const error = assertThrows(() => placed(text), OptionError);
    const [first, shown, caret, ...more] = error.message.split("\n");
    for (const part of [`at character ${at + 1}:`, ...parts]) assertStringIncludes(first!, part);
    assertEquals([shown, caret, more], [`  ${text}`, `  ${" ".repeat(at)}^`, []]);
  });
}

/** Adapters that are equal as written and as built by hand. */
const lora = lowRank({ rank: 4, alpha: 8 });
const boft = butterfly({ block: 4, factors: 2 });
const boftText = "boft(b=4, m=2)";
const loraGa = lowRank({ rank: 3, alpha: 6, start: "lora-ga", rankStabilised: true });
const fitted = <P>(adapter: Adapter<P>): Fitted => fit(adapter, dims);
const EQUAL: readonly (readonly [text: string, byHand: Fitted])[] = [
  ["hra(r=4)", fitted(householder({ reflections: 4 }))],
  ["compose(givens(layers=2), unitary)", fitted(compose(givens({ layers: 2 }), unitary()))],
  ["lora", fitted(lowRank({ rank: 8, alpha: 16 }))],
  ["lora(alpha=3)", fitted(lowRank({ rank: 8, alpha: 3 }))],
  ["lora(r=4)", fitted(lora)],
  ["lora(alpha=8, rank=4)", fitted(lora)],
  [
    "lora-ga(r=3, gamma=4, variant=peft)",
    fitted(
      lowRank({ rank: 3, alpha: 6, start: "lora-ga", rankStabilised: true, gamma: 4, variant: "peft" }),
    ),
  ],
  ["boft(block=4, factors=3, row-scale=true)", fitted(butterfly({ block: 4, factors: 3, rowScale: true }))],
  ["oft(b=8, neumann=5)", fitted(butterfly({ block: 8, factors: 1, cayley: 5 }))],
  [
    "compose(dora(r=2), boft(b=4,m=2))",
    fitted(compose(lowRank({ rank: 2, alpha: 4, decomposed: true }), boft)),
  ],
  [`compose(lora(r=4), ${boftText}, identity)`, fitted(compose(lora, compose(boft, identity)))],
  [`parallel(lora(r=4), scale(0.5, ${boftText}))`, fitted(parallel(lora, scale(0.5, boft)))],
  [`mix(lora-ga(r=3), ${boftText})`, fitted(mix([loraGa, boft], gradNormShare))],
  [
    `hybrid(lora-ga(r=3), ${boftText}, input=raw)`,
    fitted(
      mix([loraGa, boft], gradNormShare, { outermost: "first" }),
    ),
  ],
  [
    `mix(lora(r=4), ${boftText}, lora-ga(r=3), space=delta, ema=0.5, clamp=0.1, scope=layer)`,
    fitted(
      mix([lora, boft, loraGa], gradNormShare, {
        space: "delta",
        ema: 0.5,
        clamp: [0.1, 0.9],
        scope: "layer",
      }),
    ),
  ],
  [
    `mix(lora(r=4), ${boftText}, space=generator)`,
    fitted(mix([lora, boft], gradNormShare, { space: "generator" })),
  ],
  [
    "hybrid(r=3, b=4, m=2)",
    fitted(
      hybrid({ rank: 3, alpha: 6, block: 4, factors: 2, rankStabilised: true }),
    ),
  ],
  [
    `compose(scale(2, mix(lora(r=4), mix(${boftText}, lora-ga(r=3)))), ${boftText})`,
    fitted(
      compose(scale(2, mix([lora, mix([boft, loraGa], gradNormShare)], gradNormShare)), boft),
    ),
  ],
];

for (const [text, byHand] of EQUAL) {
  Deno.test(`compose: ${text} is what is built by hand`, () => {
    const [only] = composedPlacements(text, DEFAULT_SETTINGS, "all-linear");
    const read = only!.fit(dims);
    for (const part of ["name", "leaves", "mixing", "asks"] as const) assertEquals(read[part], byHand[part]);
    assertEquals(read.unmerge === null, byHand.unmerge === null);
    const { x, w, base, params, given } = sampleOf(byHand, dims, 9);
    const outputs = (f: Fitted) => evaluate([f.apply(params, base)(x), f.merge(params, w)], given);
    assertEquals(outputs(read), outputs(byHand));
  });
}

Deno.test("compose: flags give what a call leaves open, and the target of an adapter without a place", () => {
  const flags = { ...DEFAULT_SETTINGS, rank: 2, alpha: 7, block: 4, factors: 1 };
  const read = (text: string) => composedPlacements(text, flags, "mlp,q_proj")[0]!;
  const output = (f: Fitted) => {
    const { x, base, params, given } = sampleOf(f, dims, 9);
    return evaluate([f.apply(params, base)(x)], given);
  };
  assertEquals(output(read("lora").fit(dims)), output(fitted(lowRank({ rank: 2, alpha: 7 }))));
  assertEquals(output(read("lora(r=3)").fit(dims)), output(fitted(lowRank({ rank: 3, alpha: 6 }))));
  assertEquals(read("boft").fit(dims).leaves, fitted(butterfly({ block: 4, factors: 1 })).leaves);
  assertEquals(modules.filter((m) => read("lora").matches(m.path)).map((m) => m.path), [
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.mlp.up_proj",
  ]);
});

Deno.test("compose: each map gets the first place that is for it", () => {
  const list = placed('on("q_proj,*.0-0.mlp.*", lora) + on(attn, boft)');
  assertEquals(
    modules.map((m) => list.findIndex((p) => p.matches(m.path))),
    [0, 1, 0],
  );
});
