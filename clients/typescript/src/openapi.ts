/** Generated from the OpenAPI document by `npm run generate:client`. Do not edit. */
export interface paths {
    "/v1/sales/{saleId}/buy": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Reserve units, first come, first served
         * @description Safe to repeat after any failure: a request with the same Idempotency-Key and the same body gets the first response again. Without a key, the buyer and the basket are the key: the same basket gets the same reservation while that is `reserved` or `confirmed`, also if the waitlist gave it; another basket is another purchase, within the limit. After the reservation is cancelled or has expired, the same basket is a new purchase. Baskets are the same in any order and in any form of the body. An empty body requests one unit of the only SKU of the sale.
         */
        post: operations["buy"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/sales/{saleId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The sale and its remaining units, at most 250 ms old */
        get: operations["getSale"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/sales/{saleId}/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The buyer's reservations in this sale, and the remaining allowance */
        get: operations["getMine"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/reservations/{reservationId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The buyer's own reservation */
        get: operations["getReservation"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/reservations/{reservationId}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Release a reservation
         * @description Returns the units to the waitlist or to the sale, and the allowance to the buyer, in one step. Safe to repeat. Only the merchant can cancel a confirmed reservation.
         */
        post: operations["giveBack"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/sales/{saleId}/waitlist": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Join the waitlist of a SKU
         * @description Only for a quantity that is not on sale now. Units may be loaded later, so a buyer can also wait for a SKU without units, and for more units than are loaded. Free units go to the first buyer on the waitlist whose quantity is free, as a new hold with its own deadline (`waitlistHoldSeconds` of the sale). Units that are too few for every waiting buyer are on sale for everyone; the waiting buyers keep their ranks. A buyer waits once for each SKU. Joining again with the same quantity gets the current rank. Joining with another quantity is 409 `invalid_transition` and changes nothing: `sku`, `quantity` and `place` say what is stored; leave first to wait for another quantity. A quantity above a limit is refused, and a waiting buyer whose quantity is above a lowered limit leaves the waitlist. The units that a buyer waits for count against the limit. While the sale is paused, buyers keep their ranks and nobody can join; when it has ended, nobody waits any more.
         */
        post: operations["joinWaitlist"];
        /** Leave the waitlists of a sale */
        delete: operations["leaveWaitlist"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/sales/{saleId}/live": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * A WebSocket with the changes of the sale and of the buyer’s own state
         * @description Every client gets the changes of the sale. A client with a token also gets its own reservations and waitlist ranks. Browsers cannot set headers here, so they offer the subprotocols `flash-sale` and `bearer.<token>`. The current state is sent first, so a client only needs to reconnect after a close. Close codes: 1012 if the process restarts, 4410 if the sale was archived, 1008 for a client that sends too much, 1006 for one that does not read. A connection ends after an hour.
         */
        get: operations["watchSale"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        Reservation: {
            reservationId: string;
            saleId: string;
            buyerId: string;
            /** @enum {string} */
            status: "reserved" | "confirmed" | "cancelled" | "expired";
            items: {
                sku: string;
                /** @description Units that are left; 0 if all units of this SKU were cancelled, and other items not. */
                quantity: number;
                /** @description Units that a merchant has cancelled while others were left; absent: none. */
                cancelled?: number;
                unitPrice: number;
            }[];
            /** @description Of the units that are left, in minor units. */
            total: number;
            /** @description ISO 4217. */
            currency: string;
            /** @description Position in the sale's order of decisions, from 1; never reused. */
            position: number;
            /**
             * @description `purchase`: the buyer bought the units. `waitlist`: the waitlist gave them to the buyer.
             * @enum {string}
             */
            source: "purchase" | "waitlist";
            /** Format: date-time */
            reservedAt: string;
            /** Format: date-time */
            expiresAt: string;
        };
        SaleView: {
            saleId: string;
            name: string;
            /** @enum {string} */
            status: "draft" | "open" | "paused" | "ended";
            startsAt: string | null;
            endsAt: string | null;
            /** Format: date-time */
            serverTime: string;
            skus: {
                sku: string;
                name: string;
                /** @description Minor units. */
                price: number;
                currency: string;
                remaining: number;
                soldOut: boolean;
                /** @description Units of this SKU that one buyer may have; absent: no limit of its own. */
                perBuyerLimit?: number;
            }[];
        };
        LiveMessage: {
            /** @constant */
            type: "sale";
            saleId: string;
            /** @enum {string} */
            status: "draft" | "open" | "paused" | "ended";
            startsAt: string | null;
            endsAt: string | null;
            /** Format: date-time */
            serverTime: string;
            skus: {
                sku: string;
                remaining: number;
                soldOut: boolean;
            }[];
        } | {
            /** @constant */
            type: "reservation";
            reservation: components["schemas"]["Reservation"];
        } | {
            /** @constant */
            type: "waitlist";
            saleId: string;
            sku: string;
            quantity: number;
            /** @description Rank on the waitlist, from 1; 0: no longer on the waitlist. */
            place: number;
            /**
             * @description `waiting`: `quantity` is what is stored. `served`: a reservation for it exists. `left`: the buyer or the engine ended the wait, or the sale has ended.
             * @enum {string}
             */
            state: "waiting" | "served" | "left";
        };
        WaitlistPlace: {
            saleId: string;
            sku: string;
            quantity: number;
            /** @description Rank on the waitlist, from 1: the lowest rank whose quantity is free is served. */
            place: number;
        };
        BuyerInSale: {
            saleId: string;
            buyerId: string;
            /** @description All living reservations, and the 20 newest others. */
            reservations: components["schemas"]["Reservation"][];
            /** @description What the buyer waits for now; nothing once the sale has ended. */
            waitlist: {
                sku: string;
                quantity: number;
                /** @description Rank on the waitlist, from 1: the lowest rank whose quantity is free is served. */
                place: number;
            }[];
            perBuyerLimit: number;
            /** @description Units that the buyer may still reserve within the limit; 0 also for a buyer with 20 living reservations. */
            remainingAllowance: number;
            /** @description Each SKU with a limit of its own, and the units that both limits still allow. */
            skus: {
                sku: string;
                perBuyerLimit: number;
                remainingAllowance: number;
            }[];
            /** @description Until then, purchases and the waitlist refuse this buyer with `too_many_holds`; null: they do not. */
            tooManyHoldsUntil: string | null;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    buy: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
                /** @description Names the request: a repeated request with the same key takes effect once. Send the header at most once, as 1 to 64 visible ASCII characters. Any other header is 422 `invalid_request` and changes nothing: one that is empty, blank, too long or repeated, or has other characters, or is a comma-separated list that has a key twice, as proxies may join repeated headers. */
                "idempotency-key"?: string;
            };
            path: {
                saleId: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": {
                    sku: string;
                    /** @default 1 */
                    quantity?: number;
                } | {
                    items: {
                        sku: string;
                        /** @default 1 */
                        quantity?: number;
                    }[];
                };
            };
        };
        responses: {
            /** @description A repeated request: the same reservation in its current state. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Always `true` here. */
                    "Idempotent-Replayed"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Reservation"];
                };
            };
            /** @description Reserved until `expiresAt`. */
            201: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Reservation"];
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_not_found`: There is no sale with that id. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `sold_out`: The requested items are sold out.
             *
             *     `insufficient_stock`: Not enough units are left for that quantity.
             *
             *     `limit_reached`: The request exceeds the limit per buyer.
             *
             *     `sale_not_started`: The sale has not started yet.
             *
             *     `sale_paused`: The sale is paused. It may resume later.
             */
            409: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** @description With `sold_out` and `insufficient_stock`: the items of which fewer are available. */
                        items?: {
                            sku: string;
                            requested: number;
                            /** @description Null: Redis could not be read at that moment. */
                            available: number | null;
                        }[];
                        /** @description With `limit_reached`: the units that a buyer may have. */
                        limit?: number;
                        /** @description With `limit_reached`: the units that this buyer may still reserve. */
                        remainingAllowance?: number;
                        /** @description With `limit_reached`: the SKU whose limit it is. */
                        sku?: string;
                        /** @description With `sale_not_started`: the start; null: an operator opens the sale. */
                        startsAt?: string | null;
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sold_out" | "insufficient_stock" | "limit_reached" | "sale_not_started" | "sale_paused";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `payload_too_large`: The body exceeds the limit of this API. */
            413: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "payload_too_large";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `invalid_request`: The request is invalid; see errors.
             *
             *     `idempotency_key_reused`: This key belongs to another request. Send a new Idempotency-Key for another purchase.
             */
            422: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_request" | "idempotency_key_reused";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `rate_limited`: Too many requests. Wait before the next one.
             *
             *     `too_many_holds`: This buyer has let too many holds in this sale end within a short time. Send the same request again after `until`.
             */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /**
                         * Format: date-time
                         * @description With `too_many_holds`: the time from which requests are accepted again.
                         */
                        until?: string;
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited" | "too_many_holds";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             *
             *     `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unavailable" | "recovering" | "overloaded";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    getSale: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
            };
            path: {
                saleId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The sale. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["SaleView"];
                };
            };
            /** @description `sale_not_found`: There is no sale with that id. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `invalid_request`: The request is invalid; see errors. */
            422: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_request";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `rate_limited`: Too many requests. Wait before the next one. */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "recovering" | "unavailable";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    getMine: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
            };
            path: {
                saleId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The state of the buyer in this sale. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BuyerInSale"];
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_not_found`: There is no sale with that id. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `invalid_request`: The request is invalid; see errors. */
            422: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_request";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `rate_limited`: Too many requests. Wait before the next one. */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             *
             *     `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unavailable" | "recovering" | "overloaded";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    getReservation: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
            };
            path: {
                reservationId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The reservation. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Reservation"];
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `reservation_not_found`: There is no reservation with that id, or it belongs to another buyer. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "reservation_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `rate_limited`: Too many requests. Wait before the next one. */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             *
             *     `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unavailable" | "recovering" | "overloaded";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    giveBack: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
            };
            path: {
                reservationId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The reservation is cancelled. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description `true` if it was already cancelled. */
                    "Idempotent-Replayed"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Reservation"];
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `reservation_not_found`: There is no reservation with that id, or it belongs to another buyer. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "reservation_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `invalid_transition`: The current state does not allow this change. */
            409: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_transition";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `rate_limited`: Too many requests. Wait before the next one. */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             *
             *     `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unavailable" | "recovering" | "overloaded";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    joinWaitlist: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
            };
            path: {
                saleId: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": {
                    sku?: string;
                    /** @default 1 */
                    quantity?: number;
                };
            };
        };
        responses: {
            /** @description Already on the waitlist for this quantity, with the current rank. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Always `true` here. */
                    "Idempotent-Replayed"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["WaitlistPlace"];
                };
            };
            /** @description On the waitlist. */
            201: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["WaitlistPlace"];
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_not_found`: There is no sale with that id. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `invalid_transition`: The current state does not allow this change.
             *
             *     `limit_reached`: The request exceeds the limit per buyer.
             *
             *     `sale_not_started`: The sale has not started yet.
             *
             *     `sale_paused`: The sale is paused. It may resume later.
             */
            409: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** @description With `limit_reached`: the units that a buyer may have. */
                        limit?: number;
                        /** @description With `limit_reached`: the units that this buyer may still reserve. */
                        remainingAllowance?: number;
                        /** @description With `limit_reached`: the SKU whose limit it is. With `invalid_transition`: the SKU that the buyer already waits for; absent if the quantity is on sale. */
                        sku?: string;
                        /** @description With `sale_not_started`: the start; null: an operator opens the sale. */
                        startsAt?: string | null;
                        /** @description With `sku` of `invalid_transition`: the quantity that the buyer waits for. */
                        quantity?: number;
                        /** @description With `sku` of `invalid_transition`: the rank on the waitlist. */
                        place?: number;
                        /** @description With `limit_reached`: what the buyer waits for, which counts against the limit. */
                        waitlist?: {
                            sku: string;
                            quantity: number;
                            /** @description Rank on the waitlist, from 1: the lowest rank whose quantity is free is served. */
                            place: number;
                        }[];
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_transition" | "limit_reached" | "sale_not_started" | "sale_paused";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `payload_too_large`: The body exceeds the limit of this API. */
            413: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "payload_too_large";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `invalid_request`: The request is invalid; see errors. */
            422: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_request";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `rate_limited`: Too many requests. Wait before the next one.
             *
             *     `too_many_holds`: This buyer has let too many holds in this sale end within a short time. Send the same request again after `until`.
             */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /**
                         * Format: date-time
                         * @description With `too_many_holds`: the time from which requests are accepted again.
                         */
                        until?: string;
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited" | "too_many_holds";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             *
             *     `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unavailable" | "recovering" | "overloaded";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    leaveWaitlist: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
            };
            path: {
                saleId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description On no waitlist of the sale. */
            200: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        saleId: string;
                        /** @description The number of waitlists left. */
                        left: number;
                        /** @description What the buyer waits for now; nothing once the sale has ended. */
                        waitlist: {
                            sku: string;
                            quantity: number;
                            /** @description Rank on the waitlist, from 1: the lowest rank whose quantity is free is served. */
                            place: number;
                        }[];
                    };
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_not_found`: There is no sale with that id. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `rate_limited`: Too many requests. Wait before the next one. */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             *
             *     `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unavailable" | "recovering" | "overloaded";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    watchSale: {
        parameters: {
            query?: never;
            header?: {
                /** @description Returned with the response if it matches ^[A-Za-z0-9._:+/=@-]{1,64}$; otherwise the server generates one. */
                "x-request-id"?: string;
                /** @description W3C Trace Context, propagated if it matches ^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$. */
                traceparent?: string;
                /** @description `Bearer` and the token; without it: the sale only. */
                authorization?: string;
                /** @description `flash-sale`, or `flash-sale, bearer.<token>`. */
                "sec-websocket-protocol"?: string;
            };
            path: {
                saleId: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A WebSocket with messages of these types. */
            101: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["LiveMessage"];
                };
            };
            /** @description `unauthorized`: Send a valid token in the Authorization header. */
            401: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The authentication scheme. */
                    "WWW-Authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "unauthorized";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `forbidden`: The token's role does not allow this operation. */
            403: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "forbidden";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_not_found`: There is no sale with that id. */
            404: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_not_found";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `method_not_allowed`: This path does not support the method. */
            405: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description The methods of this path. */
                    Allow?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "method_not_allowed";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `sale_ended`: The sale has ended. */
            410: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "sale_ended";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `invalid_request`: The request is invalid; see errors. */
            422: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "invalid_request";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description `rate_limited`: Too many requests. Wait before the next one. */
            429: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "rate_limited";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /**
             * @description `recovering`: The sale is being recovered. Send the same request again, with the same key.
             *
             *     `overloaded`: No decision was made. Send the same request again, with the same key.
             *
             *     `unavailable`: The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.
             */
            503: {
                headers: {
                    /** @description The id of the request, as in every log. */
                    "X-Request-Id"?: string;
                    /** @description Seconds until the same request should be sent again. */
                    "Retry-After"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        type: string;
                        title: string;
                        status: number;
                        /** @enum {string} */
                        code: "recovering" | "overloaded" | "unavailable";
                        detail: string;
                        /** @description The invalid fields of the request. */
                        errors?: {
                            field: string;
                            message: string;
                        }[];
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
}
