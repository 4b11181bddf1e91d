/** A server that answers as the Hugging Face hub does for one model, over HTTP on this machine. @module */
import { createHash } from "node:crypto";

/** What a test may change while the server runs. */
export interface HubServer extends AsyncDisposable {
  readonly endpoint: string;
  /** Requests so far: method, path without its query, and the range that was asked for. */
  readonly requests: {
    readonly path: string;
    readonly range: string | null;
    readonly token: string | null;
  }[];
  /** Contents by name. */
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  /** Cut the answer for this file after so many bytes, this many times. */
  cut: { readonly name: string; readonly bytes: number; times: number } | null;
  /** Only those with this token may read. */
  token: string | null;
  commit: string;
}

/** Id of the model that the server has. */
export const HUB_MODEL = "someone/small-model";

/** Files from this size on are listed as large ones, with a SHA-256. */
const LARGE = 10_000;

/** Serve these files. */
export function serveHub(files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>): HubServer {
  const state: Omit<HubServer, "endpoint" | typeof Symbol.asyncDispose> = {
    requests: [],
    files: new Map(files),
    cut: null,
    token: null,
    commit: "1234567890".repeat(4),
  };
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    (request) => answer(state, request),
  );
  return Object.assign(state, {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}

function answer(state: Omit<HubServer, "endpoint" | typeof Symbol.asyncDispose>, request: Request): Response {
  const { pathname } = new URL(request.url), range = request.headers.get("range");
  const token = request.headers.get("authorization");
  state.requests.push({ path: pathname, range, token });
  const refuse = (status: number, error: string): Response =>
    Response.json({ error }, {
      status,
      headers: { "X-Error-Code": status === 404 ? "RepoNotFound" : "GatedRepo" },
    });
  if (state.token !== null && token !== `Bearer ${state.token}`) return refuse(401, "Invalid credentials");
  const api = `/api/models/${HUB_MODEL}`, resolve = `/${HUB_MODEL}/resolve/${state.commit}/`;
  if (pathname === `${api}/revision/main`) {
    return Response.json({ _id: "1", id: HUB_MODEL, sha: state.commit, private: false, gated: false });
  }
  if (pathname === `${api}/tree/${state.commit}`) {
    return Response.json([
      { type: "directory", path: "onnx", oid: "0".repeat(40), size: 0 },
      ...[...state.files].map(listed),
    ]);
  }
  const content = pathname.startsWith(resolve) ? state.files.get(pathname.slice(resolve.length)) : undefined;
  if (!content) return refuse(404, "Repository not found");
  return send(state, pathname.slice(resolve.length), content, range);
}

function listed([path, content]: [string, Uint8Array<ArrayBuffer>]) {
  const oid = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
  const sha256 = createHash("sha256").update(content).digest("hex");
  const lfs = content.length >= LARGE ? { lfs: { oid: sha256, size: content.length, pointerSize: 130 } } : {};
  return { type: "file", path, oid, size: content.length, ...lfs };
}

function send(
  state: Pick<HubServer, "cut">,
  name: string,
  content: Uint8Array<ArrayBuffer>,
  range: string | null,
): Response {
  const [, from = "0", to = ""] = range?.match(/^bytes=(\d+)-(\d*)$/) ?? [];
  const start = Number(from), end = to === "" ? content.length : Number(to) + 1;
  const part = content.subarray(start, end), { cut } = state;
  const headers = {
    ETag: '"x"',
    "Content-Length": `${part.length}`,
    ...(range === null ? {} : { "Content-Range": `bytes ${start}-${end - 1}/${content.length}` }),
  };
  const status = range === null ? 200 : 206;
  if (cut?.name !== name || cut.times === 0 || part.length <= cut.bytes) {
    return new Response(part, { status, headers });
  }
  cut.times--;
  const broken = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(part.slice(0, cut.bytes)),
    pull: async (controller) => {
      // What was sent has to arrive before the connection breaks.
      await new Promise((resume) => setTimeout(resume, 50));
      controller.close();
    },
  }, { highWaterMark: 0 });
  return new Response(broken, { status, headers });
}
