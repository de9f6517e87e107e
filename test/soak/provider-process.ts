/** An identity provider that shares no processor time with those who send the requests. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";

export interface ProviderProcess {
  port: number;
  issuer: string;
  close(): Promise<void>;
}

export async function startProviderProcess(
  settings: Parameters<typeof startIdentityProvider>[0],
): Promise<ProviderProcess> {
  const program = fileURLToPath(new URL("provider-program.ts", import.meta.url));
  const child = fork(program, [JSON.stringify(settings)], { execArgv: ["--import", "tsx"] });
  const started = once(child, "message").then(([said]) => said as Omit<ProviderProcess, "close">);
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`The identity provider ended with ${code}`);
  });
  const { port, issuer } = await Promise.race([started, ended]);
  ended.catch(() => {}); // from here on its end is the soak's
  return {
    port,
    issuer,
    async close() {
      if (!child.connected) return; // it has ended by itself
      const exited = once(child, "exit");
      child.disconnect();
      await exited;
    },
  };
}
