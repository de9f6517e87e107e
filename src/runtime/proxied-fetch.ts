/** fetch through a forward proxy (CONNECT), which Node does by itself only in versions that are too new to rely on. */
import { goesDirectBy } from "./no-proxy.ts";
import type { Fetch } from "./runtime.ts";

export interface OutgoingProxy {
  /** `http://proxy.example.com:3128`, perhaps with a name and a password. */
  url: string;
  /** Hosts that are asked directly, in the form of `NO_PROXY`: `localhost,.internal,10.0.0.0/8`. */
  except: string;
}

export interface ProxiedFetch {
  fetch: Fetch;
  close(): Promise<void>;
}

/** Only what is https goes through the proxy: http is for this computer alone. */
export async function openProxiedFetch({ url: proxy, except }: OutgoingProxy): Promise<ProxiedFetch> {
  // Half a second of loading, for those who have a proxy.
  const { ProxyAgent, fetch } = await import("undici");
  const dispatcher = new ProxyAgent(proxy);
  const goesDirect = goesDirectBy(except);
  return {
    // Whoever asks follows no redirection, so the first URL decides.
    fetch: (input, init) => {
      const url = new URL(input);
      const isDirect = url.protocol !== "https:" || goesDirect(url);
      // Its Response is of a class of its own, with the same members.
      return fetch(url, {
        ...(init as object),
        ...(!isDirect && { dispatcher }),
      }) as unknown as Promise<Response>;
    },
    close: () => dispatcher.destroy(),
  };
}
