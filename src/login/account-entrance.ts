/** What the browser's endpoints need of src/account, whose logins no client waits for. */
import type { Request, Response } from "express";
import type { ConfiguredProvider } from "../identity/identity-providers.ts";
import type { ConnectionsLogin } from "./transaction.ts";

export interface ConnectionsEntrance {
  /** Finishes a login for /connections, which this callback has consumed. */
  enter(
    parameters: URLSearchParams,
    state: string,
    login: ConnectionsLogin,
    provider: ConfiguredProvider,
    req: Request,
    res: Response,
  ): Promise<void>;
  /** Ends the /connections session of this browser. */
  leave(req: Request, res: Response): Promise<void>;
}
