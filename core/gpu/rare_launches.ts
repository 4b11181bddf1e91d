/** Launches whose text a plan hardly needs: compiling it costs more than it saves. @module */

/** A text is rare that less than one in so many launches has. */
const RARE = 400;

/**
 * How launches with a rare text are cut into such as the plan has anyway. `launches` are the numbers of their parts' texts,
 * `of` is how many launches have to share a text; the result has places of parts, in the order in which the text of the
 * others has them.
 */
export function cutRare(
  launches: readonly (readonly number[])[],
  of: number = RARE,
): readonly (readonly (readonly number[])[])[] {
  const counts = new Map<string, number>();
  for (const parts of launches) counts.set(parts.join(), (counts.get(parts.join()) ?? 0) + 1);
  const isRare = (parts: readonly number[]): boolean => counts.get(parts.join())! * of < launches.length;
  // A kernel that is launched alone is compiled alone, however rare that is.
  const usual = [...new Map(launches.map((parts) => [parts.join(), parts])).values()]
    .filter((parts) => parts.length === 1 || !isRare(parts))
    .sort((a, b) => b.length - a.length);
  return launches.map((parts) => {
    const whole = [...parts.keys()];
    return parts.length === 1 || !isRare(parts) ? [whole] : cut(parts, usual);
  });
}

/** Places of parts by launch: the usual ones that are in it, and what is left. */
function cut(parts: readonly number[], usual: readonly (readonly number[])[]): number[][] {
  const left = new Set(parts.keys()), found: number[][] = [];
  for (const one of usual) {
    for (let places = placesOf(one, parts, left); places; places = placesOf(one, parts, left)) {
      found.push(places);
      places.forEach((place) => left.delete(place));
    }
  }
  return left.size > 0 ? [...found, [...left]] : found;
}

/** Where all parts of a launch are among those that are left. */
function placesOf(
  one: readonly number[],
  parts: readonly number[],
  left: ReadonlySet<number>,
): number[] | null {
  const free = new Set(left), places: number[] = [];
  for (const text of one) {
    const place = [...free].find((p) => parts[p] === text);
    if (place === undefined) return null;
    free.delete(place);
    places.push(place);
  }
  return places;
}
