/** nginx or HAProxy that passes every request on to a server, with what it costs as the kernel counts it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../test/support/eventually.ts";
import { freePort } from "../test/support/free-port.ts";
import type { Measurable } from "./load.ts";

export interface PassingProgram extends Measurable {
  url: string;
  stop(): Promise<void>;
}

/** One process, kept connections to the server, nothing written: as good as they can be. */
const PROGRAMS = {
  nginx: {
    args: (folder: string) => ["-p", folder, "-c", join(folder, "config"), "-e", "stderr"],
    config: (port: number, target: string) => `
daemon off; master_process off; pid nginx.pid; error_log stderr; events { worker_connections 1024; }
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${name};`).join(" ")}
  upstream server { server ${target}; keepalive 32; }
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 1000000;
    location / { proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}
`,
  },
  haproxy: {
    args: (folder: string) => ["-db", "-f", join(folder, "config")],
    config: (port: number, target: string) => `
global
  nbthread 1
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 5s
  http-reuse always
frontend front
  bind 127.0.0.1:${port}
  default_backend server
backend server
  server one ${target}
`,
  },
};

/** @param url of the MCP server */
export async function startPassing(
  name: keyof typeof PROGRAMS,
  { url }: { url: string },
): Promise<PassingProgram> {
  const { args, config } = PROGRAMS[name];
  const folder = mkdtempSync(join(tmpdir(), "bench-passing-"));
  const port = await freePort();
  const { port: target, pathname } = new URL(url);
  writeFileSync(join(folder, "config"), config(port, `127.0.0.1:${target}`));
  const child: ChildProcess = spawn(name, args(folder), { stdio: "ignore" });
  const failed = once(child, "error").then(([error]) => Promise.reject(error));
  await Promise.race([
    failed,
    eventually(`${name} listens`, () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        () => true,
        () => false,
      ),
    ),
  ]);
  return {
    url: `http://127.0.0.1:${port}${pathname}`,
    // Nanoseconds on a processor, user and system, of the one thread (proc(5)).
    cpu: async () => Number(readFileSync(`/proc/${child.pid}/schedstat`, "utf8").split(" ")[0]) / 1000,
    async stop() {
      const exited = once(child, "exit");
      child.kill();
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
}
