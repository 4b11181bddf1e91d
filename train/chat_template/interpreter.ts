/**
 * An interpreter of Jinja that counts what it does, and stops a template that goes on without end or takes memory without
 * bound. Built on the library's interpreter, whose `evaluate` every part of a template goes through. @module
 */
import { type Environment, Interpreter } from "@huggingface/jinja";
import { LENGTH_COST, type Readings } from "./readings.ts";
import { growthOf, lengthOf, type Size, sizeOfValue, type Value } from "./sizes.ts";

/** A part of a template. */
type Node = Exclude<Parameters<Interpreter["evaluate"]>[0], undefined>;

/** What rendering one chat may take. */
export interface JinjaLimits {
  /** Parts of the template evaluated, and items gone over. */
  readonly steps: number;
  /** Characters of all texts that are made, read or written on the way. */
  readonly characters: number;
}

/** A template was stopped. */
export class JinjaLimitError extends Error {}

/** Parts within parts, calls of macros included; real templates have some dozens. */
const DEEPEST = 1000;
/** A value in the place of the part that gave it. */
class Held {
  readonly type = "Held";
  constructor(readonly held: Value) {}
}

/** Methods whose result can be much larger than what they are called on, or that take longer than to read it. */
const GROWING: ReadonlySet<string> = new Set([
  ...["replace", "split", "startswith", "endswith", "title"],
  ...["dictsort", "items", "keys", "values"],
]);

/** Filters that look at no more than one item. */
const CHEAP: ReadonlySet<string> = new Set([
  "safe",
  "first",
  "last",
  "length",
  "default",
  "int",
  "float",
  "abs",
]);

interface Argument {
  readonly type: string;
  readonly argument?: Node;
  readonly value?: Node;
}

/** Evaluates a template with what it reads marked by `readingsOf`. Throws JinjaLimitError at a limit. */
export class BoundedInterpreter extends Interpreter {
  private steps = 0;
  private characters = 0;
  private depth = 0;
  private readonly sizes = new WeakMap<object, Size>();

  constructor(
    environment: Environment,
    private readonly readings: Readings,
    private readonly limits: JinjaLimits,
  ) {
    super(environment);
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (!node) return super.evaluate(node, environment);
    if (node instanceof Held) return node.held;
    this.step(1 + (this.readings.scanned.get(node) ?? 0));
    if (++this.depth > DEEPEST) throw new JinjaLimitError(`parts within parts, more than ${DEEPEST}`);
    try {
      const value = this.valueAt(node, environment);
      // The library's filters `first` and `last` of an empty list give nothing at all.
      if (value as Value | undefined) this.account(node, value);
      return value;
    } finally {
      // `continue` and `break` leave by throwing.
      this.depth--;
    }
  }

  private valueAt(node: Node, environment: Environment): Value {
    if (node.type === "FilterExpression") return this.filtered(node, environment);
    if (node.type !== "MemberExpression") return super.evaluate(node, environment);
    const { object, property, computed } = node as unknown as {
      readonly object: Node;
      readonly property: { readonly value: unknown };
      readonly computed: boolean;
    };
    if (!computed && !GROWING.has(String(property.value))) return super.evaluate(node, environment);
    const on = this.evaluate(object, environment);
    const value = super.evaluate({ ...node, object: new Held(on) } as Node, environment);
    return value.type === "FunctionValue" && on.type !== "NamespaceValue" ? this.guarded(on, value) : value;
  }

  /** A method that is charged for what it does before it does it. */
  private guarded(on: Value, method: Value): Value {
    const { value: call, constructor } = method as unknown as {
      readonly value: (args: Value[], scope: Environment) => Value;
      readonly constructor: new (call: (args: Value[], scope: Environment) => Value) => Value;
    };
    return new constructor((args, scope) => {
      const name = on.type === "StringValue" ? "replace" : "dictsort";
      this.read(growthOf(name, on, args, (v) => this.sizeOf(v)));
      return call(args, scope);
    });
  }

  private filtered(node: Node, environment: Environment): Value {
    const { operand, filter } = node as unknown as {
      readonly operand: Node;
      readonly filter: {
        readonly value?: string;
        readonly callee?: { value: string };
        readonly args?: Argument[];
      };
    };
    const name = filter.callee?.value ?? filter.value ?? "";
    if (CHEAP.has(name)) return super.evaluate(node, environment);
    const on = this.evaluate(operand, environment), values: Value[] = [];
    const hold = (part: Node): Node => {
      const value = this.evaluate(part, environment);
      values.push(value);
      return new Held(value) as unknown as Node;
    };
    // As the library: all that stands by its place before what stands by its name.
    const args = [...filter.args ?? []];
    for (const named of [false, true]) {
      args.forEach((arg, i) => {
        if (/^Keyword/.test(arg.type) !== named) return;
        if (arg.argument) args[i] = { ...arg, argument: hold(arg.argument) };
        else if (named) args[i] = { ...arg, value: hold(arg.value!) };
        // The library wants these two written out as texts.
        else if (/^(select|reject)attr$/.test(name)) hold(arg as Node);
        else args[i] = hold(arg as Node);
      });
    }
    this.read(growthOf(name, on, values, (v) => this.sizeOf(v)));
    return super.evaluate(
      {
        ...node,
        operand: new Held(on),
        filter: filter.args ? { ...filter, args } : filter,
      } as unknown as Node,
      environment,
    );
  }

  /** Charge for a value that a part gave. */
  private account(node: Node, value: Value): void {
    if (value.type === "StringValue") return this.read((value.value as string).length);
    // Lists that a call or a filter makes are gone over to make them.
    if (node.type === "CallExpression" || node.type === "FilterExpression") this.step(lengthOf(value));
    // Looking for a name that there is none of takes the library long.
    if (value.type === "UndefinedValue") return this.step(8);
    switch (this.readings.kinds.get(node)) {
      case "items":
        return this.step(LENGTH_COST * lengthOf(value));
      case "whole":
        return this.read(growthOf("string", value, [], (v) => this.sizeOf(v)));
    }
  }

  private sizeOf(value: Value): Size {
    return sizeOfValue(value, this.sizes, (n) => this.step(n));
  }

  private step(n: number): void {
    this.steps += n;
    if (this.steps > this.limits.steps) {
      throw new JinjaLimitError(`more than ${this.limits.steps} steps for one chat`);
    }
  }

  private read(n: number): void {
    this.characters += n;
    if (!(this.characters <= this.limits.characters)) {
      throw new JinjaLimitError(`texts of more than ${this.limits.characters} characters for one chat`);
    }
  }
}
