/** The messages between `npm run dev` and the server process that it restarts. */
import type { Environment } from "../../src/config/settings.ts";

export type ToServer =
  /** Read the code; touch nothing that the server before you still uses. */
  | { do: "load"; environment: Environment; store: string; weatherSource: string }
  | { do: "listen" }
  | { do: "stop" };

export type FromServer =
  | { is: "loaded"; scopes: string[] }
  | { is: "listening"; port: number }
  | { is: "failed"; problem: string };
