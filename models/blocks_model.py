"""blocks: one contact of one number is blocked (X), then unblocked (Y); two pods make the calls, in any order.

Record: (status, begun, wish); status none | open | done | gone (expired). A request changes Meta's list when it lands, any time until its
answer. Checked: when nothing is left to do, Meta has the newest wish. With a zombie both pods may work on one record (a rebalance).
"""
from __future__ import annotations

from typing import NamedTuple


class Cfg(NamedTuple):
    look: bool = True         # before the request: a newer wish is there
    begun: bool = True        # marked before the request; a marked record takes the newer wish over instead of ending
    after: bool = True        # after the answer: a newer wish came meanwhile
    keep: bool = True         # what is taken over is kept in the record
    zombie: bool = False
    crash: int = 0
    fail: int = 1             # answers that let a call be tried again, carried out or not
    expire: int = 0           # the number is stopped for days: what is done expires


class P(NamedTuple):
    name: str
    pc: str = "idle"          # idle look begin fly answer end
    i: int = 0
    wish: int = 0


def make(cfg: Cfg):
    init = ((("open", 0, 1), ("none", 0, 2)), (P("D1"), P("D2")), 0, (cfg.crash, cfg.fail, cfg.expire))

    def newest(recs):
        return max((r[2] for r in recs if r[0] in ("open", "done")), default=0)

    def setr(recs, i, r):
        return recs[:i] + (r,) + recs[i + 1:]

    def succ(s):
        recs, ps, meta, (crash, fail, expire) = s
        if recs[1][0] == "none":
            yield "Y is stored", (setr(recs, 1, ("open", 0, 2)), ps, meta, s[3]), None
        if expire and all(p.pc == "idle" for p in ps) and recs[1][0] == "done":
            x = recs[0]      # a record that waits is looked at each second
            if x[0] == "open" and cfg.look:
                x = ("open", 1, 2 if cfg.keep else 1) if cfg.begun and x[1] else ("done", *x[1:])
            yield "days pass, Y's record expires", ((x, ("gone", 0, 2)), ps, meta, (crash, fail, 0)), None
        for n, p in enumerate(ps):
            def st(p2, recs=recs, meta=meta, bud=(crash, fail, expire)):
                return recs, ps[:n] + (p2,) + ps[n + 1:], meta, bud
            idle = P(p.name)
            what, r = "XY"[p.i], recs[p.i]
            if p.pc == "idle":
                for i, each in enumerate(recs):
                    if each[0] == "open" and (cfg.zombie or not any(o.pc != "idle" and o.i == i for o in ps)):
                        yield f"{p.name}: takes {'XY'[i]}", st(P(p.name, "look", i, each[2])), None
            elif p.pc == "look":
                top = newest(recs)
                if not cfg.look or top <= p.wish:
                    yield f"{p.name}: {what} is the newest", st(p._replace(pc="begin")), None
                elif not (cfg.begun and r[1]):
                    done = setr(recs, p.i, ("done", r[1], r[2])) if r[0] == "open" else recs
                    yield f"{p.name}: {what} is not the newest, ends", st(idle, done), None
                else:
                    kept = setr(recs, p.i, ("open", 1, top)) if r[0] == "open" else recs
                    yield f"{p.name}: {what} takes over the newer wish", st(p._replace(pc="begin", wish=top), kept), None
            elif p.pc == "begin":
                if r[0] != "open" and not r[1]:
                    yield f"{p.name}: {what} was ended meanwhile", st(idle), None
                else:
                    begun = setr(recs, p.i, ("open", 1, r[2])) if r[0] == "open" else recs
                    yield f"{p.name}: begins {what}, the request leaves", st(p._replace(pc="fly"), begun), None
            elif p.pc == "fly":
                yield f"Meta: wish {p.wish} by {what} lands ({p.name})", st(p._replace(pc="answer"), meta=p.wish), None
                if fail:
                    bud = (crash, fail - 1, expire)
                    yield f"{p.name}: {what} is to be tried again", st(idle, bud=bud), None
                    yield f"{p.name}: {what} is to be tried again, though it landed", st(idle, meta=p.wish, bud=bud), None
            elif p.pc == "answer":
                if cfg.after and newest(recs) > p.wish:
                    yield f"{p.name}: a newer wish came meanwhile", st(p._replace(pc="look")), None
                else:
                    yield f"{p.name}: {what} is the newest still", st(p._replace(pc="end")), None
            elif p.pc == "end":
                done = setr(recs, p.i, ("done", *r[1:])) if r[0] == "open" else recs
                yield f"{p.name}: {what} is done", st(idle, done), None
            if crash and p.pc != "idle":
                bud = (crash - 1, fail, expire)
                yield f"{p.name}: CRASH at {p.pc} of {what}", st(idle, bud=bud), None
                if p.pc == "fly":
                    yield f"{p.name}: CRASH, {what} landed", st(idle, meta=p.wish, bud=bud), None

    def final(s):
        return None if s[2] == 2 else f"Meta has wish {s[2]}"

    return init, succ, final


def suite(report, check):
    ok = Cfg()

    def r(name, c, e):
        report("blocks: " + name, check(*make(c)), e)
    r("looked for before and after, begun marked (crash 2, tried again 2)", ok._replace(crash=2, fail=2), True)
    r("the same, and the newer one expires", ok._replace(crash=1, expire=1), True)
    r("the same, a rebalance in the middle of a request", ok._replace(zombie=True, fail=0, expire=1), True)
    r("B1 no order", ok._replace(look=False, begun=False, after=False), False)
    r("B2 not looked for after the answer", ok._replace(after=False, fail=0), False)
    r("B3 begun not marked, and a crash", ok._replace(begun=False, crash=1, fail=0), False)
    r("B4 not kept in the record, and the newer one expires", ok._replace(keep=False, expire=1), False)
    r("B5 a limit: a pod dies in a request that another pod had repeated and ended", ok._replace(zombie=True, crash=1, fail=0), False)
    r("B6 a limit: that request lands and is to be tried again", ok._replace(zombie=True), False)


if __name__ == "__main__":
    from mc import check, report
    suite(report, check)
