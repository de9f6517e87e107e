/** For tests that write to a socket by hand. */
import type { Socket } from "node:net";

/**
 * All that came until the connection ended. What is sent after the other side has closed it makes the end a reset, and
 * which of the two it is depends on the machine: both are the end.
 */
export function receivedUntilClosed(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    socket.setEncoding("utf8").on("data", (chunk) => {
      received += chunk;
    });
    socket.on("error", () => {}).on("close", () => resolve(received));
  });
}
