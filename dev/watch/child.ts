/** The server process of `npm run dev`, replaced at every change. Loads the code by import(), so that its errors are reported. */
import type { FromServer, ToServer } from "./messages.ts";

const tell = (message: FromServer) => process.send?.(message);
let server: { listen(): Promise<number>; stop(): Promise<void> } | undefined;

async function obey(message: ToServer): Promise<void> {
  switch (message.do) {
    case "load": {
      const { loadDevServer } = await import("./server.ts");
      const loaded = await loadDevServer(message);
      server = loaded;
      return void tell({ is: "loaded", scopes: loaded.scopes });
    }
    case "listen":
      return void tell({ is: "listening", port: (await server?.listen()) ?? 0 });
    case "stop":
      await server?.stop();
      return process.exit(0);
  }
}

process.on("message", (message: ToServer) => {
  obey(message).catch((error: unknown) => tell({ is: "failed", problem: problemOf(error) }));
});
// Ctrl+C reaches both; the other one says when.
process.on("SIGINT", () => {});
process.on("disconnect", () => process.exit(0));

/** What is wrong, and the first place of it in this project. */
function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = /\(?((file:\/\/)?\/[^\s()]*\/src\/[^\s()]+:\d+:\d+)\)?/.exec(error.stack ?? "")?.[1];
  const isNamed = place !== undefined && !error.message.includes(place);
  return isNamed ? `${error.message}\n  at ${place}` : error.message;
}
