-- What tells one life of the log from another, for history.

alter table log_progress
    add column last_ms   bigint,   -- when the last applied record was appended (broker's clock); a log that was cut and
                                   -- has grown again has another record there, or none
    add column topic_id  text,     -- Kafka's id of the topic; an epoch of the same topic goes on where the one before was cut
    add column continues text[],   -- the epochs before it, whose rows below `below` are of this one too
    add column below     bigint;
