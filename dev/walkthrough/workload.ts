/** `--as workload`: a platform says which program is running (workload identity, RFC 7523 §2.1). */
import { z } from "zod";
import { JWT_BEARER_GRANT } from "../../src/oauth/client-metadata.ts";
import { SERVICE_ACCOUNT } from "../demo/callers.ts";
import type { Walk } from "./discovery.ts";
import { expectStatus, readJson } from "./http.ts";
import { demoIssuers, type Settings } from "./settings.ts";
import {
  askDemo,
  expectUsedOnce,
  explain,
  findServer,
  presentAssertion,
  readAccessToken,
  useToken,
} from "./unattended.ts";

export async function walkAsWorkload(walk: Walk, settings: Settings): Promise<void> {
  const { trace } = walk;
  trace.show(`A program that has no secret calls the tools of ${walk.url}: its platform says who it is.`);
  const server = await findServer(walk, { grantType: JWT_BEARER_GRANT });
  const assertion = settings.assertion ?? (await requestToken(walk, server.issuer, settings));
  trace.keepSecret(assertion);
  trace.step("Present it: no client id, no secret");
  const { sub } = explain(
    assertion,
    { iss: "who signed it", sub: "the program", aud: "for us alone", jti: "used once" },
    trace,
  );
  const token = readAccessToken(await presentAssertion(walk, server, assertion), trace);
  await useToken(walk, server, token, { kind: "workload", subject: String(sub) });
  trace.step("Present the same assertion once more, as a thief would");
  await expectUsedOnce(walk, server, assertion);
}

const TokenRequest = z.object({ status: z.object({ token: z.string() }) });

/** As the kubelet does it for a pod, or `kubectl create token`: Kubernetes' TokenRequest API. */
async function requestToken(walk: Walk, audience: string, settings: Settings): Promise<string> {
  const { platform } = demoIssuers(settings);
  const { namespace, name } = SERVICE_ACCOUNT;
  walk.trace.step("Take a token of our service account from the platform");
  const json = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { audiences: [audience], expirationSeconds: 600 },
  };
  const answer = await askDemo(
    walk,
    {
      method: "POST",
      url: `${platform}/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
      json,
      show: { kind: json.kind, audiences: audience },
    },
    "ASSERTION",
  );
  expectStatus(answer, 201);
  const { token } = readJson(answer, TokenRequest).status;
  walk.trace.keepSecret(token);
  walk.trace.learned(
    "a JWT that the platform signed; on a real one, only for the pod that runs as the account",
  );
  return token;
}
