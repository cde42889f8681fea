"""The public event files of this trade, in the form in which they are published: one name instead of many options."""

from collections.abc import Mapping
from typing import Any

from producers.files.cells import LEFT_OUT, OTHER_TYPES
from producers.files.read_options import CONTEXT, NO_COLUMN

__all__ = ["PRESETS"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "retailrocket": {
        "columns": {"user": "visitorid", "item": "itemid", "ts": "timestamp", "type": "event"},
        "types": {"addtocart": "cart", "transaction": "purchase"},
    },
    "otto": {
        "columns": {"user": "session", "item": "aid", "session": NO_COLUMN},
        "types": {"clicks": "click", "carts": "cart", "orders": "purchase"},
        "each": "events",
    },
    "rees46": {
        "columns": {"user": "user_id", "item": "product_id", "ts": "event_time", "type": "event_type"},
        "optional": {"value": "price", "session": "user_session"},
        "types": {"remove_from_cart": LEFT_OUT},
    },
    "taobao": {
        "format": "csv",
        "names": ("user", "item", "", "type", "ts"),
        "types": {"pv": "view", "fav": "like", "buy": "purchase"},
        "ts_unit": "s",
    },
    "ga4": {
        "columns": {"user": "user_pseudo_id", "item": "item_id", "ts": "event_timestamp", "type": "event_name"},
        "types": {
            "view_item_list": "impression",
            "select_item": "click",
            "view_item": "view",
            "add_to_wishlist": "like",
            "add_to_cart": "cart",
            "purchase": "purchase",
            OTHER_TYPES: LEFT_OUT,
        },
        "each": "items",
        "ts_unit": "us",
    },
    "segment": {
        "columns": {
            "user": "userId",
            "item": "properties.product_id",
            "ts": "timestamp",
            "type": "event",
            CONTEXT: NO_COLUMN,
        },
        "types": {
            "Product Clicked": "click",
            "Product Viewed": "view",
            "Product Added to Wishlist": "like",
            "Product Added": "cart",
            "Order Completed": "purchase",
            OTHER_TYPES: LEFT_OUT,
        },
        "each": "properties.products",
    },
    "movielens": {
        "columns": {"user": "userId", "item": "movieId", "ts": "timestamp", "value": "rating"},
        "default_type": "rating",
        "ts_unit": "s",
    },
    "movielens-1m": {
        "format": "csv",
        "delimiter": "::",
        "names": ("user", "item", "value", "ts"),
        "default_type": "rating",
        "ts_unit": "s",
    },
    "movielens-100k": {
        "format": "tsv",
        "names": ("user", "item", "value", "ts"),
        "default_type": "rating",
        "ts_unit": "s",
    },
    "recbole": {
        "format": "tsv",
        "columns": {"user": "user_id:token", "item": "item_id:token"},
        "optional": {"ts": "timestamp:float", "value": "rating:float", "session": "session_id:token"},
        "default_type": "rating",
        "ts_unit": "s",
    },
    "yoochoose-clicks": {"format": "csv", "names": ("user", "ts", "item", ""), "default_type": "click"},
    "yoochoose-buys": {"format": "csv", "names": ("user", "ts", "item", "value", ""), "default_type": "purchase"},
    "hm": {
        "columns": {"user": "customer_id", "item": "article_id", "ts": "t_dat"},
        "optional": {"value": "price"},
        "default_type": "purchase",
    },
    "instacart": {
        "columns": {"user": "order_id", "item": "product_id"},
        "default_type": "purchase",
    },
}
"""Name to the fields of `ReadOptions`. Yoochoose, OTTO and Instacart name no users: sessions and orders are."""
