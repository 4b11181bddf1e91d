/** Many jobs, a few at a time. @module */

/** Results in the order of the jobs, of which `workers` are under way at once. */
export async function inTurn<J, R>(
  jobs: readonly J[],
  workers: number,
  run: (job: J) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(jobs.length), next = jobs.entries();
  const work = async (): Promise<void> => {
    // One iterator for all: each job is taken once.
    for (const [i, job] of next) results[i] = await run(job);
  };
  await Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, work));
  return results;
}
