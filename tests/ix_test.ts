/** Index expressions: whatever the normal form did to them, they have the value of the integers that they stand for. @module */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Ix,
  ixAdd,
  ixConst,
  ixDiv,
  ixLinear,
  ixMod,
  ixScale,
  ixStride,
  ixSubstitute,
  ixUnravel,
  ixVar,
  ixVars,
  type Var,
} from "../core/ir/ix.ts";
import { sizeOf, stridesOf } from "../core/ir/aval.ts";

type Values = ReadonlyMap<string, number>;

/** The value of an index where its variables have these values. */
function valueOf(x: Ix, at: Values): number {
  return x.terms.reduce((total, { coef, atom }) => {
    switch (atom.kind) {
      case "var":
        return total + coef * at.get(atom.name)!;
      case "div":
        return total + coef * Math.floor(valueOf(atom.of, at) / atom.by);
      case "mod":
        return total + coef * remainder(valueOf(atom.of, at), atom.by);
      case "value":
        throw new Error("These indices read no memory.");
    }
  }, x.constant);
}

function remainder(x: number, n: number): number {
  return x - n * Math.floor(x / n);
}

/** An index together with what it should be, in plain integers. */
interface Pair {
  readonly ix: Ix;
  readonly plain: (at: Values) => number;
}

const extents = [1, 2, 3, 4, 5, 6, 8, 12];
const vars: readonly Var[] = extents.map((extent, i) => ({ name: `v${i}`, extent }));

const factor = fc.constantFrom(1, 2, 3, 4, 5, 6, 8, 10, 12, 24);

/** Indices that are never negative, as views make them: sums, multiples, quotients, remainders. */
const { pair } = fc.letrec<{ pair: Pair }>((tie) => ({
  pair: fc.oneof(
    { maxDepth: 6, depthSize: "max", withCrossShrink: true },
    fc.constantFrom(...vars).map((v): Pair => ({ ix: ixVar(v), plain: (at) => at.get(v.name)! })),
    fc.nat(30).map((n): Pair => ({ ix: ixConst(n), plain: () => n })),
    fc.tuple(tie("pair"), tie("pair")).map(([a, b]): Pair => ({
      ix: ixAdd(a.ix, b.ix),
      plain: (at) => a.plain(at) + b.plain(at),
    })),
    fc.tuple(tie("pair"), factor).map(([a, k]): Pair => ({
      ix: ixScale(a.ix, k),
      plain: (at) => a.plain(at) * k,
    })),
    fc.tuple(tie("pair"), factor).map(([a, n]): Pair => ({
      ix: ixDiv(a.ix, n),
      plain: (at) => Math.floor(a.plain(at) / n),
    })),
    fc.tuple(tie("pair"), factor).map(([a, n]): Pair => ({
      ix: ixMod(a.ix, n),
      plain: (at) => a.plain(at) % n,
    })),
  ),
}));

/** Values of all variables inside their extents. */
const anywhere: fc.Arbitrary<Values> = fc.tuple(...vars.map((v) => fc.nat(v.extent - 1)))
  .map((values) => new Map(values.map((n, i) => [vars[i]!.name, n])));

const runs = { numRuns: 2000 };

Deno.test("an index has the value of the integers that it stands for, inside its bounds", () => {
  fc.assert(
    fc.property(pair, anywhere, ({ ix, plain }, at) => {
      const expected = plain(at);
      assertEquals(valueOf(ix, at), expected, ix.key);
      assert(
        ix.lo <= expected && expected <= ix.hi,
        `${ix.key} is ${expected}, outside of ${ix.lo} to ${ix.hi}`,
      );
    }),
    runs,
  );
});

Deno.test("indices with equal keys have equal values", () => {
  fc.assert(
    fc.property(fc.array(pair, { minLength: 20, maxLength: 40 }), anywhere, (pairs, at) => {
      const known = new Map<string, number>();
      for (const { ix, plain } of pairs) {
        const value = plain(at);
        assertEquals(known.get(ix.key) ?? value, value, ix.key);
        known.set(ix.key, value);
      }
    }),
    { numRuns: 200 },
  );
});

Deno.test("differences keep their value", () => {
  fc.assert(
    fc.property(pair, pair, anywhere, (a, b, at) => {
      assertEquals(valueOf(ixAdd(a.ix, ixScale(b.ix, -1)), at), a.plain(at) - b.plain(at));
      assertEquals(ixAdd(a.ix, ixScale(a.ix, -1)).key, "0");
    }),
    runs,
  );
});

Deno.test("a cyclic shift by less than the extent stays inside", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 12 }), fc.nat(11), fc.nat(11), (n, shift, at) => {
      const v = { name: "v", extent: n };
      const rolled = ixMod(ixAdd(ixVar(v), ixConst(shift % n)), n);
      assertEquals(valueOf(rolled, new Map([["v", at % n]])), (at % n + shift % n) % n);
    }),
    runs,
  );
});

Deno.test("substitution replaces variables by values", () => {
  fc.assert(
    fc.property(
      pair,
      fc.array(fc.tuple(fc.nat(vars.length - 1), pair), { maxLength: 3 }),
      anywhere,
      ({ ix, plain }, list, at) => {
        // What takes the place of a variable must lie where the variable lay: bounds were used to simplify.
        const by = new Map(list.map(([i, p]) => {
          const { name, extent } = vars[i]!;
          return [name, { ix: ixMod(p.ix, extent), plain: (where: Values) => p.plain(where) % extent }];
        }));
        const inside = new Map([...at].map(([name, n]) => [name, by.get(name)?.plain(at) ?? n]));
        const found = ixSubstitute(ix, new Map([...by].map(([name, p]) => [name, p.ix])));
        assertEquals(valueOf(found, at), plain(inside), `${ix.key} became ${found.key}`);
      },
    ),
    runs,
  );
});

Deno.test("the variables of an index are those that it names, and its strides are differences", () => {
  fc.assert(
    fc.property(pair, anywhere, ({ ix, plain }, at) => {
      const names = ixVars(ix);
      for (const { name, extent } of vars) {
        const n = at.get(name)!;
        if (n + 1 >= extent) continue;
        const step = plain(new Map([...at, [name, n + 1]])) - plain(at);
        const stride = ixStride(ix, name);
        if (stride !== null) assertEquals(stride, step, `stride of ${name} in ${ix.key}`);
        if (!names.has(name)) assertEquals(step, 0, `${ix.key} does not name ${name}`);
      }
    }),
    runs,
  );
});

const shape = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 });

Deno.test("unravelling a position and putting it together again give the position back, without division", () => {
  fc.assert(
    fc.property(shape, (dims) => {
      const position = ixVar({ name: "p", extent: sizeOf(dims) });
      assertEquals(ixLinear(ixUnravel(position, dims), stridesOf(dims)).key, position.key);
      const index = dims.map((extent, i) => ixVar({ name: `i${i}`, extent }));
      const back = ixUnravel(ixLinear(index, stridesOf(dims)), dims);
      assertEquals(back.map((ix) => ix.key), index.map((ix) => ix.key));
    }),
    runs,
  );
});

Deno.test("a reshape keeps the order of the elements", () => {
  fc.assert(
    fc.property(shape, fc.nat(), (dims, seed) => {
      // The same sizes in another order make another shape of as many elements.
      const to = dims.toSorted((a, b) => ((a * 7 + seed) % 5) - ((b * 7 + seed) % 5));
      const index = to.map((extent, i) => ({ name: `i${i}`, extent }));
      const from = ixUnravel(ixLinear(index.map(ixVar), stridesOf(to)), dims);
      let linear = seed % sizeOf(dims);
      const at = new Map<string, number>(), expected = linear;
      for (const v of index.toReversed()) {
        at.set(v.name, linear % v.extent);
        linear = Math.floor(linear / v.extent);
      }
      const strides = stridesOf(dims);
      assertEquals(from.reduce((n, ix, i) => n + valueOf(ix, at) * strides[i]!, 0), expected);
      from.forEach((ix, i) => assert(valueOf(ix, at) < dims[i]!));
    }),
    runs,
  );
});
