/** The client's redirect URI: a listener on a free loopback port, for the one answer it waits for (RFC 8252 §7.3). */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { StepFailure } from "./trace.ts";

export interface Loopback {
  redirectUri: string;
  /** The parameters of the first authorization response. @throws StepFailure if none comes in time */
  answer(seconds: number): Promise<URLSearchParams>;
  close(): void;
}

const PATH = "/callback";

export async function listenOnLoopback(): Promise<Loopback> {
  const { promise, resolve } = deferred<URLSearchParams>();
  const server = createServer((req, res) => {
    const url = new URL(req.url ?? "/", "http://127.0.0.1");
    // Browsers also ask for a favicon.
    if (req.method !== "GET" || url.pathname !== PATH) return void res.writeHead(404).end();
    const title = url.searchParams.has("error") ? "Not signed in" : "Signed in";
    res.writeHead(200, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" });
    res.end(
      `<!doctype html><html lang="en"><title>${title}</title><h1>${title}</h1><p>Go back to the terminal; this page can be closed.</p></html>`,
    );
    resolve(url.searchParams);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    redirectUri: `http://127.0.0.1:${port}${PATH}`,
    async answer(seconds) {
      let timer: NodeJS.Timeout | undefined;
      const tooLate = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(nobodyCame(seconds)), seconds * 1000);
      });
      return Promise.race([promise, tooLate]).finally(() => clearTimeout(timer));
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function nobodyCame(seconds: number): StepFailure {
  return new StepFailure({
    expected: "the browser to come back to the loopback address",
    came: `nothing within ${seconds} seconds`,
    hint: "Sign in at the address above, in a browser on this same computer. If the browser shows an error page, it says what is wrong.",
  });
}

function deferred<T>(): { promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
