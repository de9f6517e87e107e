/**
 * How much of what clients sent is in memory at once, counted from its first byte until its request is answered. When all
 * of it is used up, what makes no progress goes first: whoever sends slowly cannot keep others out.
 */
import { type OAuthError, TooManyRequestsError, UnavailableError } from "../oauth/errors.ts";

export interface BodyBudget {
  /**
   * A body begins to arrive.
   * @param holder whose share it counts for as well, if there are shares
   * @param cut called with the reason if the body is dropped before it has arrived; nothing of it may be kept then
   */
  open(holder: string | undefined, cut: (error: OAuthError) => void): BodyShare;
}

/** What one body takes. */
export interface BodyShare {
  /**
   * @throws TooManyRequestsError if the share of its holder is used up
   * @throws UnavailableError if the whole budget is
   */
  add(bytes: number): void;
  /** The body is complete: from here on its request is finished, and not cut. */
  arrived(): void;
  /** Its request has been answered. May be called again. */
  release(): void;
}

export interface BodyBudgetOptions {
  /** Bytes altogether. */
  total: number;
  /** Bytes of one holder. */
  perHolder?: number;
}

/** What a request takes beside its body: sockets, headers, promises. So that the number of bodies is bounded as well. */
const BYTES_PER_REQUEST = 2_048;

export function createBodyBudget({ total, perHolder = total }: BodyBudgetOptions): BodyBudget {
  let used = 0;
  const usedBy = new Map<string, number>();
  /** The oldest first. */
  const arriving = new Set<{ cut(): void }>();

  function count(holder: string | undefined, bytes: number): void {
    used += bytes;
    if (holder === undefined) return;
    const usedByHolder = (usedBy.get(holder) ?? 0) + bytes;
    if (usedByHolder > 0) usedBy.set(holder, usedByHolder);
    else usedBy.delete(holder);
  }

  return {
    open(holder, cut) {
      let mine = 0;
      let isReleased = false;
      const body = {
        cut() {
          share.release();
          cut(busy());
        },
      };
      const share: BodyShare = {
        add(bytes) {
          // Its client went away meanwhile, and nothing would release it again.
          if (isReleased) return;
          if (holder !== undefined && (usedBy.get(holder) ?? 0) + bytes > perHolder)
            throw new TooManyRequestsError(1, "too_much_under_way");
          while (used + bytes > total) {
            const [oldest] = arriving;
            if (oldest === undefined || oldest === body) throw busy();
            oldest.cut();
          }
          count(holder, bytes);
          mine += bytes;
        },
        arrived: () => void arriving.delete(body),
        release() {
          isReleased = true;
          arriving.delete(body);
          count(holder, -mine);
          mine = 0;
        },
      };
      share.add(BYTES_PER_REQUEST);
      arriving.add(body);
      return share;
    },
  };
}

function busy(): UnavailableError {
  return new UnavailableError("server", {
    reason: "too_much_under_way_for_all",
    description: "The server is busy with what others have sent. Try again in a moment.",
  });
}
