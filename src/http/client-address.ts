/** Where a request comes from, past the proxies that the operator trusts, whether or not express has seen it. */
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import type { Express, Request } from "express";

export interface ClientAddresses {
  /** As express's `req.ip`. */
  addressOf(req: IncomingMessage): string | undefined;
  /** As express's `req.protocol`. */
  schemeOf(req: IncomingMessage): string;
}

/** By express's own code and its setting `trust proxy`: there is one rule of who is believed. */
export function clientAddresses(app: Express): ClientAddresses {
  function ask<Property extends "ip" | "protocol">(
    property: Property,
    { headers, socket }: IncomingMessage,
  ): Request[Property] {
    const get = (name: string) => headers[name.toLowerCase()];
    return Reflect.get(app.request, property, { app, headers, socket, get });
  }
  return {
    addressOf: (req) =>
      req.headers["x-forwarded-for"] === undefined ? req.socket.remoteAddress : ask("ip", req),
    schemeOf(req) {
      const isEncrypted = (req.socket as Partial<TLSSocket>).encrypted === true;
      if (req.headers["x-forwarded-proto"] !== undefined) return ask("protocol", req);
      return isEncrypted ? "https" : "http";
    },
  };
}
