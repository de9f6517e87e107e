/**
 * Between the server under test and its Redis: passes everything on, until it is told to lose the answer to a command that
 * Redis has carried out, as networks and failovers do.
 */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";

export interface RedisProxy {
  url: string;
  /**
   * Loses the answer to the next command that matches, and with it the connection.
   * @param silent nothing answers after that, nor any new connection, until `answerAgain`
   * @param arrives false: the command itself is lost, and Redis does not carry it out
   */
  lose(command: RegExp, options?: { silent?: boolean; arrives?: boolean }): void;
  answerAgain(): void;
  /** Answers that were lost up to now. */
  readonly lost: number;
  close(): Promise<void>;
}

export async function startRedisProxy(port: number): Promise<RedisProxy> {
  const sockets = new Set<Socket>();
  let wanted: { command: RegExp; silent: boolean; arrives: boolean } | undefined;
  let isSilent = false;
  let lost = 0;
  const server = createServer((client) => {
    if (isSilent) return void client.destroy();
    const redis = connect(port, "127.0.0.1");
    let isLosing = false;
    for (const [socket, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (data) => {
      if (wanted?.command.test(data.toString("latin1"))) {
        isLosing = true;
        isSilent = wanted.silent;
        const { arrives } = wanted;
        wanted = undefined;
        if (!arrives) {
          lost++;
          for (const socket of sockets) socket.destroy();
          return;
        }
      }
      redis.write(data);
    });
    redis.on("data", (data) => {
      if (!isLosing) return void client.write(data);
      lost++;
      for (const socket of isSilent ? sockets : [client]) socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lose(command, { silent = false, arrives = true } = {}) {
      wanted = { command, silent, arrives };
    },
    answerAgain() {
      isSilent = false;
    },
    get lost() {
      return lost;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
