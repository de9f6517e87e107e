/**
 * Several requests may be sent at once through one connection (RFC 9112 §9.3.2), and are answered one after another. When
 * the connection is lost, Node.js closes the response whose turn it is, and says nothing of those that wait behind it:
 * whatever is held until they close would be held for ever.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Middleware } from "./together.ts";

const waiting = new WeakMap<Socket, Set<ServerResponse>>();

/** Closes responses with their connection, also before it is their turn. */
export const closedWithConnection: Middleware = ({ socket }, res, next) => {
  if (res.socket === null) {
    const responses = responsesOn(socket).add(res);
    res.once("close", () => responses.delete(res));
  }
  next();
};

/** One listener for all of them: there may be many. */
function responsesOn(socket: Socket): Set<ServerResponse> {
  const known = waiting.get(socket);
  if (known !== undefined) return known;
  const responses = new Set<ServerResponse>();
  waiting.set(socket, responses);
  socket.once("close", () => {
    for (const res of responses) if (res.socket === null && !res.writableFinished) close(res);
  });
  return responses;
}

function close(res: ServerResponse): void {
  res.destroy();
  res.emit("close");
}
