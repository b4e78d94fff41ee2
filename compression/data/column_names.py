"""What the name of a column says about it, as far as names do: a hint for the first description, never a proof."""

from __future__ import annotations

import re

from compression.data.known_tables import plain_name
from compression.spec.data_description import Role

NAMES = {
    Role.LABEL: {"label", "click", "clicked", "is_click", "target", "y", "is_clicked", "purchase", "purchased",
                 "converted", "conversion", "like", "liked", "cnt", "rating", "ratings", "score", "stars", "overall"},
    Role.USER: {"user", "userid", "uid", "user_name", "username", "member", "memberid", "customer", "customerid",
                "reviewerid", "visitor", "visitorid"},
    Role.ITEM: {"item", "itemid", "iid", "movie", "movieid", "product", "productid", "asin", "ad", "adid", "sku",
                "song", "songid", "track", "trackid", "video", "videoid", "news", "newsid", "article", "articleid",
                "book", "bookid", "business", "businessid", "isbn"},
    Role.TIME: {"time", "timestamp", "ts", "date", "datetime", "unixreviewtime", "eventtime", "created_at"},
}
ROW_KEYS = {"id", "rowid", "row", "index", "unnamed0", "", "eventid", "impressionid", "sessionid", "requestid"}
SCALES = {"rating", "ratings", "stars", "overall", "label", "target", "cnt"}  # labels of more than two values
MAYBE = {"score", "y"}  # a label with the values of one, else a number like any other

_FLAGS = {"label", "target", "click", "clicked", "purchase", "purchased", "bought", "buy", "converted", "conversion",
           "like", "liked", "booked", "booking", "ordered", "installed", "attributed", "clk",
           "subscribed", "relevant"}  # in names of 0 and 1
_NOT_FLAGS = {"id", "count", "num", "number", "avg", "mean", "rate", "ratio", "last", "prev", "previous", "prior",
               "past", "history", "time", "date", "ts", "timestamp", "before", "weight", "encoded", "position",
               "verified"}
_REACTIONS = {"follow", "followed", "share", "shared", "comment", "commented", "forward", "forwarded", "hate", "hated",
              "dislike", "disliked", "favorite", "favourite", "fav", "collect", "collected", "reply", "replied",
              "retweet", "retweeted", "skip", "skipped", "nonclk", "nonclick", "noclick"}
_WEIGHTS = {"weight", "weights", "wt", "w", "wgt", "fnlwgt", "propensity", "ips"}
_OF_ROWS = {"sample", "samples", "instance", "example", "row", "case", "obs", "loss", "importance", "class", "train",
            "training", "inverse", "ips", "propensity", "sampling", "event", "final",
            "survey", "fnlwgt"}
_PARTS = {"split", "fold", "kfold", "partition", "subset"}
_PART_NAMES = {"istrain", "istest", "isvalid", "isval", "isvalidation", "traintest", "trainorvalid", "dataset"}
_PART_WORDS = {"train", "training", "test", "testing", "valid", "validation", "val", "dev", "eval", "holdout"}
_EVENTS = {"session", "transaction", "order", "impression", "request", "event", "visit", "invoice", "payment",
           "booking", "receipt", "log", "trace", "pageview", "checkout", "display", "bid", "conversion", "click",
           "review", "instance", "reservation"}
_HAPPENINGS = {"event", "events", "eventtype", "eventname", "behavior", "behaviour", "behaviortype", "action",
               "actiontype", "interaction", "interactiontype"}
_AFTERWARDS = ({"dwell"}, {"watch"}, {"watched"}, {"watching"}, {"played"}, {"listened"}, {"stay", "time"},
               {"attributed", "time"}, {"attribution"}, {"like", "timestamp"}, {"reply", "timestamp"},
               {"revenue"}, {"gmv"}, {"refund"}, {"refunded"}, {"returned"},
               {"delivered"}, {"paid"}, {"play", "duration"}, {"play", "time"}, {"playing", "time"},
               {"view", "time"}, {"view", "duration"}, {"viewing", "time"}, {"read", "time"}, {"reading", "time"},
               {"listen", "time"}, {"time", "spent"}, {"click", "time"}, {"click", "timestamp"}, {"clicked", "at"},
               {"conversion", "time"}, {"conversion", "timestamp"}, {"purchase", "time"}, {"purchased", "at"},
               {"purchase", "amount"}, {"order", "amount"}, {"amount", "paid"}, {"time", "to"}, {"converted", "at"},
               {"purchase", "value"}, {"conversion", "value"}, {"delivery", "time"}, {"bookings", "usd"})
_BEFORE = {"avg", "mean", "median", "prev", "previous", "prior", "past", "hist", "history", "last", "total"}
_CODES = {"id", "code", "zip", "zipcode", "postcode", "postal", "hash", "cluster", "category", "region", "city",
          "brand"}
_QUANTITIES = {"price", "cost", "amount", "age", "count", "cnt", "qty", "quantity", "discount", "distance", "duration",
               "n", "num", "number", "budget", "salary", "income", "revenue"}


def words_of(name: str) -> set[str]:
    """The words of a name: "sampleWeight", "sample_weight" and "Sample weight" have two."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain_name(name))
    return set(re.findall(r"[a-z]+|\d+", spaced.lower()))


def joined(name: str) -> str:
    """Letters and digits of a name, in lower case."""
    return re.sub(r"[^a-z0-9]", "", plain_name(name).lower())


def named(name: str, role: Role) -> bool:
    """Whether it is one of the names that columns of this role have."""
    return plain_name(name).lower() in NAMES[role] or joined(name) in {joined(one) for one in NAMES[role]}


def is_of_a_flag(name: str) -> bool:
    """Whether a column of 0 and 1 with this name says what happened: "is_purchased", not "clicks_last_week"."""
    words = words_of(name)
    return bool(words & _FLAGS) and not words & _NOT_FLAGS


def is_of_a_reaction(name: str) -> bool:
    """Whether a column of 0 and 1 with this name is what a person did with the item: follow, is_shared."""
    words = words_of(name) - {"is", "was", "has", "did"}
    return len(words) == 1 and words <= _REACTIONS


def is_of_weights(name: str, *, few: bool) -> bool:
    """Whether it names the weight of a row; a plain "weight" may be of goods, and is one of rows if it has `few`."""
    words = words_of(name)
    of_rows = bool(words & _OF_ROWS) or joined(name) in {"sampleweight", "instanceweight", "rowweight", "caseweight"}
    weight = bool(words & _WEIGHTS) or joined(name).endswith("weight")
    return weight and (of_rows or (few and len(words) == 1))


def is_of_parts(name: str, values: set[str]) -> bool:
    """Whether it says which part of the data a row belongs to: by its name, or by values such as train and test."""
    found = {value.strip().lower() for value in values}
    return bool(words_of(name) & _PARTS) or joined(name) in _PART_NAMES or (
        len(found) > 1 and found <= _PART_WORDS)


def is_of_events(name: str) -> bool:
    """Whether it numbers events, such as sessions and orders: their ids don't come again, or tell what happened."""
    words, plain = words_of(name), joined(name)
    if "session" in words and words <= {"session", "user", "visit"}:
        return True
    if not (words & {"id", "no", "number", "key"} or plain.endswith("id")):
        return False
    return bool(words & _EVENTS) or plain in {one + "id" for one in _EVENTS}


def is_of_happenings(name: str) -> bool:
    """Whether it says in words what happened: view, cart, purchase."""
    return joined(name) in _HAPPENINGS


def is_written_afterwards(name: str) -> bool:
    """Whether it holds what is known only after the event, such as how long was watched; a history is known before."""
    words = words_of(name)
    return any(some <= words for some in _AFTERWARDS) and not words & _BEFORE


def is_of_codes(name: str) -> bool:
    """Whether its numbers are names: ids, codes, postcodes."""
    return bool(words_of(name) & _CODES) or joined(name).endswith("id")


def is_of_quantities(name: str) -> bool:
    """Whether its numbers count or measure, however few there are."""
    return bool(words_of(name) & _QUANTITIES)
