-- Events of single SKUs, and secrets of webhook endpoints that can be replaced. The columns have constant defaults, so the
-- migration takes moments on a running sale.

-- The SKUs that were last announced as sold out.
ALTER TABLE sale_announcements ADD COLUMN sold_out_skus text[] NOT NULL DEFAULT '{}';
-- Secrets from before rotations, newest first: [{secret, signsUntil}]. Each signs messages too until then.
ALTER TABLE webhook_endpoints ADD COLUMN earlier_secrets jsonb NOT NULL DEFAULT '[]';
