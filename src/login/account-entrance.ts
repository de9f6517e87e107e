/** What the browser's way asks of the room of logins that no client waits for (src/connections). */
import type { Request, Response } from "express";
import type { ConnectionsLogin } from "./transaction.ts";

export interface ConnectionsEntrance {
  /** Finishes a login of that room, which was taken for this callback. */
  enter(
    parameters: URLSearchParams,
    state: string,
    login: ConnectionsLogin,
    req: Request,
    res: Response,
  ): Promise<void>;
  /** Whoever is signed in there on this browser is not any more. */
  leave(req: Request, res: Response): Promise<void>;
}
