/** Trees: nested records and arrays with leaves of one type, as models, parameters and states are. @module */

/** A leaf, or a record or array of trees. */
export type Tree<L> = L | readonly Tree<L>[] | { readonly [key: string]: Tree<L> };

/** The same tree with leaves of another type. */
export type MapTree<T, From, To> = T extends From ? To : { readonly [K in keyof T]: MapTree<T[K], From, To> };

/** Leaves of a tree with their paths (keys joined by "."), in the order of the keys. */
export function leaves<L>(
  tree: Tree<L>,
  isLeaf: (x: unknown) => x is L,
  path = "",
): { path: string; leaf: L }[] {
  if (isLeaf(tree)) return [{ path, leaf: tree }];
  if (tree === null || typeof tree !== "object") {
    throw new TypeError(`A tree holds records, arrays and leaves; found ${String(tree)} at "${path}".`);
  }
  return Object.entries(tree).flatMap(([key, child]) =>
    leaves(child as Tree<L>, isLeaf, path ? `${path}.${key}` : key)
  );
}

/** Rebuild a tree with `f` applied to each leaf and its path. */
export function mapTree<T, From, To>(
  tree: T,
  isLeaf: (x: unknown) => x is From,
  f: (leaf: From, path: string) => To,
  path = "",
): MapTree<T, From, To> {
  const go = (x: unknown, at: string): unknown => {
    if (isLeaf(x)) return f(x, at);
    const under = (key: string | number) => (at ? `${at}.${key}` : String(key));
    if (Array.isArray(x)) return x.map((child, i) => go(child, under(i)));
    if (x === null || typeof x !== "object") {
      throw new TypeError(`A tree holds records, arrays and leaves; found ${String(x)} at "${at}".`);
    }
    return Object.fromEntries(Object.entries(x).map(([key, child]) => [key, go(child, under(key))]));
  };
  // The shape of the result follows the shape of the argument, which a recursive type cannot show to the checker.
  return go(tree, path) as MapTree<T, From, To>;
}
