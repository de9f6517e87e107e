/** What the server of one request is told of it beside its message. */
import type { ClientCapabilities } from "@modelcontextprotocol/server";
import type { RunningCall } from "./running-calls.ts";

export interface ServedRequest {
  /** Of the new protocol generation, which the server speaks then. Absent: whichever the SDK's handler binds it to. */
  revision?: string | undefined;
  /** What it asks for: nothing else is served then. Absent: several messages may come. */
  method?: string;
  /** Watches over it. Absent for messages that ask for nothing. */
  running?: RunningCall | undefined;
  /** What can be asked of the client while it waits for its answer, in the 2025 generation. Absent: nothing. */
  clientCapabilities?: (() => ClientCapabilities) | undefined;
}
