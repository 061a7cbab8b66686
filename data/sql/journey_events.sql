-- One event per basket and product type, where its first line stood; sales and quantity summed.
-- Out: coupons (no goods), and lines whose product has no type.
SELECT
    CAST(household_id AS VARCHAR) AS household,
    product_type,
    min(transaction_timestamp) AS ts,
    round(sum(sales_value), 2) AS sales_value,
    CAST(basket_id AS VARCHAR) AS basket,
    CAST(sum(quantity) AS VARCHAR) AS quantity
FROM read_parquet($transactions, file_row_number = true) AS lines
JOIN read_parquet($products) AS goods USING (product_id)
WHERE product_type IS NOT NULL
    AND (department = 'FUEL' OR coalesce(product_category, '') NOT LIKE 'COUPON%')
GROUP BY household_id, basket_id, product_type
ORDER BY min(lines.file_row_number);
